//! Selects fields of a file by a pattern.

use super::pattern::Pattern;

/// The selected fields. The kernel prints the same names in the same order each time, so the result for each field is
/// cached.
#[derive(Debug)]
pub(crate) struct FieldSelection {
    pattern: Option<Pattern>,
    verdicts: Vec<(Vec<u8>, bool)>,
}

impl FieldSelection {
    /// Selects the fields that match the pattern, or all fields without a pattern.
    pub(crate) fn new(pattern: Option<Pattern>) -> Self {
        Self {
            pattern,
            verdicts: Vec::new(),
        }
    }

    /// Whether the field at this position is selected. The positions of a file must be queried in order.
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
