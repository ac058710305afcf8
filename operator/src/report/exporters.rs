//! Which exporters serve what is published: `status.nodes.verified` and the condition `ExportersVerified`. Pure.

use crate::{
    api::{Advance, CertificateStatus},
    report::{
        conditions::{self, Finding, Verdict},
        seen::Seen,
    },
    rotation::evidence::{Exporter, Standing},
};

/// How many nodes a sentence names.
pub(crate) const MAX_NAMED_NODES: usize = 5;

/// Reason of [`conditions::EXPORTERS_VERIFIED`] if an exporter refuses the published credentials.
pub(crate) const CREDENTIALS_REFUSED: &str = "CredentialsRefused";

/// What is known about the exporters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Census<'a> {
    /// They were asked.
    Taken(Counted<'a>),
    /// They could not be asked this time.
    AsBefore,
    /// They are not asked, or cannot be until a user changes something.
    NotKnown,
}

/// The exporters by their standing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted<'a> {
    /// How many are verified.
    pub verified: usize,
    /// The nodes whose exporters serve another certificate, sorted.
    pub outdated: Vec<&'a str>,
    /// The nodes whose exporters refuse the published credentials, sorted.
    pub refusing: Vec<&'a str>,
    /// The nodes whose exporters could not be asked, sorted.
    pub unreachable: Vec<&'a str>,
}

impl<'a> Census<'a> {
    /// Compares the exporters with the published certificate.
    pub fn of(seen: &Seen<'a>, certificate: Option<&CertificateStatus>) -> Self {
        if is_timed(seen) || seen.blindness().is_some() {
            return Self::NotKnown;
        }
        match (seen.exporters, certificate) {
            (Some(exporters), Some(certificate)) => {
                Self::Taken(Counted::of(exporters, &certificate.serial_number))
            }
            _ => Self::AsBefore,
        }
    }
}

impl<'a> Counted<'a> {
    fn of(exporters: &'a [Exporter], serial_number: &str) -> Self {
        let mut counted = Self::default();
        for exporter in exporters {
            let node = exporter.node.as_str();
            match exporter.standing(serial_number) {
                Standing::Verified => counted.verified += 1,
                Standing::Outdated => counted.outdated.push(node),
                Standing::Refusing => counted.refusing.push(node),
                Standing::Unreachable => counted.unreachable.push(node),
            }
        }
        // The answers arrive in any order. A message that changed with it would be written at each pass.
        counted.outdated.sort_unstable();
        counted.refusing.sort_unstable();
        counted.unreachable.sort_unstable();
        counted
    }

    fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// Whether the exporters are never asked.
fn is_timed(seen: &Seen<'_>) -> bool {
    seen.spec
        .is_some_and(|spec| spec.rotation.advance == Advance::Timed)
}

/// Returns the condition `ExportersVerified`.
pub fn verified(seen: &Seen<'_>, census: &Census<'_>) -> Verdict {
    const TYPE: &str = conditions::EXPORTERS_VERIFIED;
    match census {
        Census::AsBefore => Verdict::AsBefore(TYPE),
        Census::Taken(counted) if counted.is_empty() => {
            let message = "There is no exporter to ask.";
            Finding::unknown(TYPE, "NoExporters", message).into()
        }
        Census::Taken(counted) => of_counted(counted).into(),
        Census::NotKnown => match seen.blindness() {
            Some(problem) => seen.not_known(TYPE, problem),
            None => {
                let message = "The operator does not ask the exporters, because spec.rotation.advance is Timed.";
                Finding::unknown(TYPE, "NotAsked", message).into()
            }
        },
    }
}

fn of_counted(counted: &Counted<'_>) -> Finding {
    const TYPE: &str = conditions::EXPORTERS_VERIFIED;
    let kinds = [
        (
            CREDENTIALS_REFUSED,
            &counted.refusing,
            "refuse the published user name and password or client certificate, so scrapes of these nodes fail",
            "A changed Secret takes up to two minutes to arrive. If this lasts longer, delete the exporter's pod there; it starts with the current Secret. Then check why the kubelet does not update the mounted Secret",
        ),
        (
            "CertificateOutdated",
            &counted.outdated,
            "do not serve the published certificate yet",
            "A changed Secret takes up to two minutes to arrive. If this lasts longer, the exporter's log says why it does not load the certificate; otherwise check the kubelet",
        ),
        (
            "Unreachable",
            &counted.unreachable,
            "cannot be reached by the operator over a verified connection",
            "Check whether these nodes are up, and whether a NetworkPolicy or firewall keeps the operator from the port. If the operator can reach no node, set spec.rotation.advance to Timed",
        ),
    ];
    let wrong = kinds.iter().filter(|(_, nodes, ..)| !nodes.is_empty());
    let sentences: Vec<String> = wrong
        .clone()
        .map(|(_, nodes, what, fix)| {
            format!(
                "{} of {} exporters {what}: {}. {fix}.",
                nodes.len(),
                counted.total(),
                list(nodes)
            )
        })
        .collect();
    match wrong.clone().next() {
        Some((reason, ..)) => Finding::new(TYPE, false, reason, sentences.join(" ")),
        None => {
            let who = match counted.total() {
                1 => "The only exporter serves the published certificate and accepts".to_owned(),
                all => format!("All {all} exporters serve the published certificate and accept"),
            };
            let message = format!("{who} the published credentials.");
            Finding::new(TYPE, true, "AllVerified", message)
        }
    }
}

impl Counted<'_> {
    /// The number of exporters.
    pub fn total(&self) -> usize {
        self.verified + self.outdated.len() + self.refusing.len() + self.unreachable.len()
    }
}

/// The first nodes, and how many more there are.
pub(crate) fn list(nodes: &[&str]) -> String {
    let named = nodes.get(..MAX_NAMED_NODES).unwrap_or(nodes).join(", ");
    match nodes.len().saturating_sub(MAX_NAMED_NODES) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use jiff::SignedDuration;

    use super::*;
    use crate::rotation::evidence::Answer;

    fn exporter(node: &str, answer: Option<(&str, bool)>) -> Exporter {
        Exporter {
            node: node.into(),
            ready: true,
            answer: answer.map(|(serial_number, is_accepted)| Answer {
                serial_number: serial_number.into(),
                verified_by: BTreeSet::new(),
                accepted: is_accepted.then(BTreeMap::new),
                uptime: SignedDuration::ZERO,
            }),
            silent_for: SignedDuration::ZERO,
        }
    }

    #[test]
    fn an_exporter_that_refuses_the_password_is_not_verified_and_named() {
        let exporters = [
            exporter("d", None),
            exporter("c", Some(("1", false))),
            exporter("b", Some(("old", true))),
            exporter("a", Some(("1", true))),
        ];
        let counted = Counted::of(&exporters, "1");
        assert_eq!((counted.verified, counted.total()), (1, 4));
        let finding = of_counted(&counted);
        assert_eq!(
            (finding.holds, finding.reason),
            (Some(false), CREDENTIALS_REFUSED)
        );
        for words in [
            "1 of 4 exporters refuse the published user name and password or client certificate, so scrapes of these nodes fail: c. ",
            "1 of 4 exporters do not serve the published certificate yet: b. ",
            "1 of 4 exporters cannot be reached by the operator over a verified connection: d. ",
        ] {
            assert!(finding.message.contains(words), "{}", finding.message);
        }
        let all = of_counted(&Counted::of(&exporters[3..], "1"));
        assert_eq!((all.holds, all.reason), (Some(true), "AllVerified"));
        assert!(
            all.message.starts_with("The only exporter serves"),
            "{}",
            all.message
        );
    }

    #[test]
    fn many_nodes_are_counted_and_not_named() {
        let nodes = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(list(&nodes), "a, b, c, d, e and 2 more");
        assert_eq!(list(&nodes[..2]), "a, b");
    }
}
