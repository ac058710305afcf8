//! Which fields of a file a pattern chooses.

use super::pattern::Pattern;

/// The chosen fields. The kernel prints the same names in the same order each time, so the pattern's verdict on each is
/// kept.
#[derive(Debug)]
pub(crate) struct FieldSelection {
    pattern: Option<Pattern>,
    verdicts: Vec<(Vec<u8>, bool)>,
}

impl FieldSelection {
    /// The fields that the pattern matches; without one, all.
    pub(crate) fn new(pattern: Option<Pattern>) -> Self {
        Self {
            pattern,
            verdicts: Vec::new(),
        }
    }

    /// Whether the field that comes at this place is chosen. The places of one file are asked for in order.
    pub(crate) fn shows(&mut self, place: usize, name: &[u8]) -> bool {
        match self.verdicts.get(place) {
            Some((known, verdict)) if known == name => return *verdict,
            Some(_) => self.verdicts.truncate(place),
            None => {}
        }
        let verdict = self
            .pattern
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(name));
        self.verdicts.push((name.to_vec(), verdict));
        verdict
    }
}
