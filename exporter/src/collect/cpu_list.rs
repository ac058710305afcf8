//! Lists of CPUs as the kernel prints them.

use crate::sources::parse_u64;

/// Returns the members of a list such as `1,3-5`, ordered by their text. An invalid list has no members.
pub(crate) fn parse_ranges(list: &[u8]) -> Vec<String> {
    let mut members = Vec::new();
    for range in list
        .split(|&byte| byte == b',')
        .filter(|range| !range.is_empty())
    {
        let mut ends = range
            .splitn(2, |&byte| byte == b'-')
            .map(|end| parse_u64(end).and_then(|n| u16::try_from(n).ok()));
        let Some(first) = ends.next().flatten() else {
            return Vec::new();
        };
        let Some(last) = ends.next().unwrap_or(Some(first)) else {
            return Vec::new();
        };
        members.extend((first..=last).map(|cpu| cpu.to_string()));
    }
    members.sort_unstable();
    members.dedup();
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_spelled_out() {
        assert_eq!(parse_ranges(b"1,9-11"), ["1", "10", "11", "9"]);
        assert!(parse_ranges(b"").is_empty());
        assert!(parse_ranges(b"1-x").is_empty());
    }
}
