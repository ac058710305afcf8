//! What a collector could not read and skipped.

use crate::collect::CollectError;

/// Lines of a table and devices of a class that could not be read. Each failure affects only that part: the collector shows
/// everything else, and reports the first failure at the end.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    first: Option<CollectError>,
    more: usize,
}

impl Skipped {
    /// Returns what was read from a line; counts `None` as a skipped line.
    pub(crate) fn line<T>(
        &mut self,
        file: &'static str,
        line: &[u8],
        read: Option<T>,
    ) -> Option<T> {
        if read.is_none() {
            self.add(CollectError::malformed(file, line));
        }
        read
    }

    /// Returns what was read of a device or a file; counts a failure as skipped.
    pub(crate) fn part<T, E: Into<CollectError>>(&mut self, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| self.add(error.into())).ok()
    }

    /// Counts a failure that affects a part of what the collector shows.
    pub(crate) fn add(&mut self, error: CollectError) {
        match self.first {
            None => self.first = Some(error),
            Some(_) => self.more += 1,
        }
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// # Errors
    ///
    /// The first failure, and the number of the others.
    pub(crate) fn result(self) -> Result<(), CollectError> {
        match (self.first, self.more) {
            (None, _) => Ok(()),
            (Some(only), 0) => Err(only),
            (Some(first), more) => Err(CollectError::Several {
                first: Box::new(first),
                more,
            }),
        }
    }
}

/// Reads something that must be complete.
#[cfg(test)]
pub(crate) fn whole<T>(read: impl FnOnce(&mut Skipped) -> T) -> Result<T, CollectError> {
    let mut skipped = Skipped::default();
    let read = read(&mut skipped);
    skipped.result().map(|()| read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_reported_with_the_number_of_the_others() {
        let mut skipped = Skipped::default();
        assert_eq!(skipped.line("f", b"good", Some(1)), Some(1));
        assert!(Skipped::default().result().is_ok());
        assert_eq!(skipped.line::<u64>("f", b"bad", None), None);
        let worse: Result<(), _> = Err(CollectError::malformed("f", b"worse"));
        assert_eq!(skipped.part(worse), None);
        assert_eq!(
            skipped.result().unwrap_err().to_string(),
            "f has an unexpected format: cannot read the line \"bad\" (2 failures in total)"
        );
    }
}
