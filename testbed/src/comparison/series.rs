//! The content of a scrape, and the differences between two.

use std::collections::{BTreeMap, BTreeSet};

use super::pair::Both;

const TYPE: &str = "# TYPE ";

/// A scrape in the text format, with the types of the families and without their help texts, which differ between
/// exporters.
#[derive(Debug, Default)]
pub struct Scrape<'a> {
    /// Types of the families by name.
    kinds: BTreeMap<&'a str, &'a str>,
    /// Values by name and labels, as they are written.
    values: BTreeMap<&'a str, &'a str>,
    /// Names and labels in their order.
    order: Vec<&'a str>,
}

impl<'a> Scrape<'a> {
    /// Parses a body that is known to be valid, except for names with these prefixes.
    pub fn parse(body: &'a str, without: &[&str]) -> Self {
        let mut scrape = Self::default();
        let lines = body.lines();
        for line in lines.filter(|line| !without.iter().any(|name| is_of(line, name))) {
            if let Some(kind) = line.strip_prefix(TYPE) {
                scrape.kinds.extend(kind.split_once(' '));
            } else if !line.starts_with('#')
                && let Some((series, value)) = line.rsplit_once(' ')
            {
                scrape.values.insert(series, value);
                scrape.order.push(series);
            }
        }
        scrape
    }

    /// The number of its series.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Returns its series that the other has as well, in its own order.
    fn in_common(&self, other: &Self) -> Vec<&'a str> {
        let common = |series: &&&str| other.values.contains_key(**series);
        self.order.iter().filter(common).copied().collect()
    }
}

/// Whether a line contains a family's type or a value, and the name has this prefix.
pub fn is_of(line: &str, name: &str) -> bool {
    line.strip_prefix(TYPE).unwrap_or(line).starts_with(name)
}

/// A difference, by the name of the family or the series.
pub type Differences = BTreeMap<String, String>;

/// Compares a scrape of ours with two of node_exporter's, one before and one after it: a value is right if it equals one of
/// theirs or lies between them. Series in `agreed` are left out; those that agree now are added to it, because changing
/// values cannot agree every time.
pub fn compare(
    ours: &Scrape<'_>,
    theirs: [&Scrape<'_>; 2],
    agreed: &mut BTreeSet<String>,
) -> Differences {
    let [before, after] = theirs;
    let mut differences = Differences::new();
    let kinds: BTreeSet<&str> = [ours, before]
        .iter()
        .flat_map(|scrape| scrape.kinds.keys().copied())
        .collect();
    for family in kinds {
        let kind = Both {
            ours: ours.kinds.get(family),
            theirs: before.kinds.get(family),
        };
        if kind.ours != kind.theirs && ours.kinds.get(family) != after.kinds.get(family) {
            differences.insert(family.to_owned(), format!("{kind:?}"));
        }
    }
    let series: BTreeSet<&str> = [ours, before, after]
        .iter()
        .flat_map(|scrape| scrape.order.iter().copied())
        .collect();
    for series in series {
        let value = |scrape: &Scrape<'_>| scrape.values.get(series).map(|text| (*text).to_owned());
        let (mine, bounds) = (value(ours), [value(before), value(after)]);
        if agrees(mine.as_deref(), bounds.each_ref().map(Option::as_deref)) {
            agreed.insert(series.to_owned());
        } else if !agreed.contains(series) {
            let text = format!(
                "ours {mine:?}, theirs before {:?} and after {:?}",
                bounds[0], bounds[1]
            );
            differences.insert(series.to_owned(), text);
        }
    }
    let (mine, their) = (ours.in_common(before), before.in_common(ours));
    if let Some((mine, their)) = mine.iter().zip(&their).find(|(mine, their)| mine != their) {
        let text = format!("{mine} stands where node_exporter has {their}");
        differences.insert("order".to_owned(), text);
    }
    differences
}

fn agrees(ours: Option<&str>, theirs: [Option<&str>; 2]) -> bool {
    if theirs.contains(&ours) {
        return true;
    }
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    let [before, after] = theirs.map(number);
    let (Some(ours), Some(before), Some(after)) = (number(ours), before, after) else {
        return false;
    };
    (before.min(after)..=before.max(after)).contains(&ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        "# HELP a h\n# TYPE a gauge\na{x=\"1 2\"} 3\na{x=\"4\"} NaN\n# TYPE b counter\nb 10\n";

    fn differences(ours: &str, before: &str, after: &str) -> Vec<String> {
        let scrapes = [before, after].map(|body| Scrape::parse(body, &[]));
        let theirs = scrapes.each_ref();
        let found = compare(&Scrape::parse(ours, &[]), theirs, &mut BTreeSet::new());
        found.into_keys().collect()
    }

    #[test]
    fn what_differs_is_found() {
        let nothing: [&str; 0] = [];
        assert_eq!(differences(BODY, BODY, BODY), nothing);
        let later = BODY.replace("b 10", "b 12");
        let between = BODY.replace("b 10", "b 11");
        assert_eq!(differences(&between, BODY, &later), nothing);
        assert_eq!(differences(&later, BODY, &between), ["b"]);
        let kind = BODY.replace("b counter", "b gauge");
        assert_eq!(differences(&kind, BODY, BODY), ["b"]);
        let written = BODY.replace("} 3", "} 3.0");
        assert_eq!(
            differences(&written, &later, BODY),
            nothing,
            "it is between"
        );
        let label = BODY.replace("1 2", "1  2");
        assert_eq!(
            differences(&label, BODY, BODY),
            ["a{x=\"1  2\"}", "a{x=\"1 2\"}"]
        );
        let order = "# TYPE a gauge\n# TYPE b counter\na{x=\"4\"} NaN\na{x=\"1 2\"} 3\nb 10\n";
        assert_eq!(differences(order, BODY, BODY), ["order"]);
    }

    #[test]
    fn what_agreed_once_may_move() {
        let mut agreed = BTreeSet::new();
        let body = Scrape::parse(BODY, &[]);
        compare(&body, [&body, &body], &mut agreed);
        assert_eq!(agreed.len(), body.len());
        let moved = BODY.replace("10", "99");
        let found = compare(&Scrape::parse(&moved, &[]), [&body, &body], &mut agreed);
        assert!(found.is_empty() && !body.is_empty());
        assert!(Scrape::parse(BODY, &["a", "b"]).is_empty());
        assert_eq!(Scrape::parse(BODY, &["a{x=\"1"]).len(), 2);
    }
}
