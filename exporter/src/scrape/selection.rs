//! Selects the collectors of one scrape by `collect[]` and `exclude[]`.

use std::collections::BTreeSet;

/// The collectors of one scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All running collectors.
    All,
    /// Only these; the list may be empty.
    Only(BTreeSet<&'static str>),
}

/// Why the filters of a request are invalid. The messages are node_exporter's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// Both filters were given.
    #[error("Combined collect and exclude queries are not allowed.")]
    Combined,
    /// There is no such collector.
    #[error(
        "Couldn't create filtered metrics handler: couldn't create collector: missing collector: {0}"
    )]
    Missing(String),
    /// The collector is not enabled.
    #[error(
        "Couldn't create filtered metrics handler: couldn't create collector: disabled collector: {0}"
    )]
    Disabled(String),
}

impl Selection {
    /// Parses a query, given the running collectors.
    ///
    /// # Errors
    /// `collect[]` names a collector that does not run, or is combined with `exclude[]`. Unknown names in `exclude[]` are
    /// ignored.
    pub fn from_query(
        query: &str,
        running: &BTreeSet<&'static str>,
    ) -> Result<Self, SelectionError> {
        let values = |key: &str| -> Vec<String> {
            form_urlencoded::parse(query.as_bytes())
                .filter(|(name, _)| name == key)
                .map(|(_, value)| value.into_owned())
                .collect()
        };
        let (collect, exclude) = (values("collect[]"), values("exclude[]"));
        let wanted = match (collect.is_empty(), exclude.is_empty()) {
            (true, true) => return Ok(Self::All),
            (false, false) => return Err(SelectionError::Combined),
            (false, true) => collect
                .into_iter()
                .map(|name| one_of(running, name))
                .collect::<Result<_, _>>()?,
            (true, false) => running
                .iter()
                .copied()
                .filter(|name| !exclude.iter().any(|excluded| excluded == name))
                .collect(),
        };
        // Equal selections share a scrape.
        Ok(if wanted == *running {
            Self::All
        } else {
            Self::Only(wanted)
        })
    }

    /// Whether it includes a running collector.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

fn one_of(running: &BTreeSet<&'static str>, name: String) -> Result<&'static str, SelectionError> {
    if let Some(found) = running.get(name.as_str()) {
        return Ok(found);
    }
    let exists = crate::collectors::TABLE
        .iter()
        .any(|spec| spec.name == name);
    Err(if exists {
        SelectionError::Disabled(name)
    } else {
        SelectionError::Missing(name)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn running() -> BTreeSet<&'static str> {
        BTreeSet::from(["cpu", "loadavg", "time"])
    }

    fn selected(query: &str) -> Result<Selection, SelectionError> {
        Selection::from_query(query, &running())
    }

    fn only(names: &[&'static str]) -> Result<Selection, SelectionError> {
        Ok(Selection::Only(names.iter().copied().collect()))
    }

    #[test]
    fn collect_takes_what_runs_and_exclude_leaves_out() {
        assert_eq!(selected(""), Ok(Selection::All));
        assert_eq!(selected("name[]=x&collect=cpu"), Ok(Selection::All));
        assert_eq!(selected("collect[]=cpu"), only(&["cpu"]));
        assert_eq!(
            selected("collect%5B%5D=cpu&collect[]=time&collect[]=cpu"),
            only(&["cpu", "time"])
        );
        assert_eq!(
            selected("exclude[]=cpu&exclude[]=unknown&exclude[]=zoneinfo"),
            only(&["loadavg", "time"])
        );
        assert_eq!(
            selected("exclude[]=cpu&exclude[]=time&exclude[]=loadavg"),
            only(&[])
        );
        assert_eq!(selected("exclude[]=zoneinfo"), Ok(Selection::All));
    }

    #[test]
    fn what_cannot_be_selected_is_named() {
        let missing = |name: &str| Err(SelectionError::Missing(name.into()));
        assert_eq!(selected("collect[]=cpu&collect[]=cpuu"), missing("cpuu"));
        assert_eq!(selected("collect[]"), missing(""));
        assert_eq!(selected("collect[]=%zz"), missing("%zz"));
        assert_eq!(
            selected("collect[]=zoneinfo"),
            Err(SelectionError::Disabled("zoneinfo".into()))
        );
        assert_eq!(
            selected("collect[]=cpuu&exclude[]=x"),
            Err(SelectionError::Combined)
        );
    }

    proptest! {
        #[test]
        fn any_query_selects_from_what_runs_or_is_refused(query in "(collect\\[\\]=|exclude%5b%5d=|&|=|cpu|time|%[0-9a-f]{0,2}|\\PC){0,12}") {
            match selected(&query) {
                Ok(Selection::Only(names)) => prop_assert!(names.is_subset(&running()) && names != running()),
                Ok(Selection::All) | Err(_) => {}
            }
        }
    }
}
