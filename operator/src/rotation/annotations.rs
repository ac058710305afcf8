//! Requests by annotation: an immediate rotation, or distrust in credentials that leaked. Pure.
//!
//! `secureexporter.dev/rotate: ca` (or `certificate`, `password`, or several, separated by commas) requests a rotation with
//! the usual overlap. `secureexporter.dev/distrust: ca` (or `all`) drops the old credentials at once. A value is acted on
//! when it differs from the last one that was handled. Anything after a colon makes it different: `password:2026-11-24`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    names::{DISTRUST_ANNOTATION, ROTATE_ANNOTATION},
    rotation::adoption::ADOPT,
};

/// What a user can request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A new serving certificate.
    Certificate,
    /// A new CA, with overlap.
    Authority,
    /// A new password, with overlap.
    Password,
    /// A new CA and serving certificate at once; the old CA is no longer trusted.
    DistrustAuthority,
    /// A new CA, serving certificate and password at once; the old ones are no longer trusted or accepted.
    DistrustAll,
}

impl Subject {
    /// Every subject.
    pub const ALL: [Self; 5] = [
        Self::Certificate,
        Self::Authority,
        Self::Password,
        Self::DistrustAuthority,
        Self::DistrustAll,
    ];

    /// Its name in the stored state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Authority => "ca",
            Self::Password => "password",
            Self::DistrustAuthority => "distrust-ca",
            Self::DistrustAll => "distrust-all",
        }
    }
}

/// The parsed annotations of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    rotate: String,
    distrust: String,
    asked: BTreeSet<Subject>,
    /// The first unknown word, with the valid ones.
    pub problem: Option<String>,
}

impl Requests {
    /// Reads the annotations of a resource.
    pub fn read(annotations: Option<&BTreeMap<String, String>>) -> Self {
        let value = |name: &str| {
            let value = annotations.and_then(|all| all.get(name));
            value.map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        let mut requests = Self {
            rotate: value(ROTATE_ANNOTATION),
            distrust: value(DISTRUST_ANNOTATION),
            ..Self::default()
        };
        for word in words(&requests.rotate.clone()) {
            match word {
                "certificate" => requests.ask(Subject::Certificate),
                "ca" => requests.ask(Subject::Authority),
                "password" => requests.ask(Subject::Password),
                other => requests.refuse(ROTATE_ANNOTATION, other, "certificate, ca or password"),
            }
        }
        for word in words(&requests.distrust.clone()) {
            match word {
                "ca" => requests.ask(Subject::DistrustAuthority),
                "all" => requests.ask(Subject::DistrustAll),
                other => requests.refuse(DISTRUST_ANNOTATION, other, "ca or all"),
            }
        }
        requests
    }

    /// Returns what the user requested.
    pub fn asked(&self) -> impl Iterator<Item = Subject> {
        self.asked.iter().copied()
    }

    /// Whether this is requested and was not handled yet.
    pub fn is_pending(&self, subject: Subject, handled: &BTreeMap<String, String>) -> bool {
        self.asked.contains(&subject) && !self.is_handled(subject, handled)
    }

    /// Whether the CA leaked, and was not replaced yet. `distrust: all` requests this, too; where the password has to wait, this
    /// part of it is remembered by itself.
    pub fn distrust_authority(&self, handled: &BTreeMap<String, String>) -> bool {
        let (authority, all) = (Subject::DistrustAuthority, Subject::DistrustAll);
        let is_asked = |subject| self.asked.contains(&subject);
        let is_handled = |subject| is_asked(all) && self.is_handled(subject, handled);
        self.is_pending(authority, handled) && !is_handled(all)
            || self.is_pending(all, handled) && !is_handled(authority)
    }

    /// Returns what to remember as handled: the whole value of the annotation.
    pub fn token(&self, subject: Subject) -> &str {
        match subject {
            Subject::DistrustAuthority | Subject::DistrustAll => &self.distrust,
            _ => &self.rotate,
        }
    }

    /// Returns the handled requests that are no longer in the annotations. If they are made again, they are new requests.
    pub fn withdrawn(&self, handled: &BTreeMap<String, String>) -> Vec<Subject> {
        let remembered = |subject: &Subject| handled.contains_key(subject.name());
        let is_part = |subject: &Subject| {
            *subject == Subject::DistrustAuthority
                && self.asked.contains(&Subject::DistrustAll)
                && self.is_handled(*subject, handled)
        };
        let all = Subject::ALL.into_iter();
        all.filter(|subject| remembered(subject) && !self.asked.contains(subject))
            .filter(|subject| !is_part(subject))
            .collect()
    }

    fn is_handled(&self, subject: Subject, handled: &BTreeMap<String, String>) -> bool {
        handled.get(subject.name()).map(String::as_str) == Some(self.token(subject))
    }

    fn ask(&mut self, subject: Subject) {
        self.asked.insert(subject);
    }

    fn refuse(&mut self, annotation: &str, word: &str, known: &str) {
        self.problem.get_or_insert_with(|| {
            format!("annotation {annotation} has the unknown value {word:?}: use {known}")
        });
    }
}

/// Formats the handled requests for the status: `<subject>=<token>`.
pub fn write_handled(handled: &BTreeMap<String, String>) -> Vec<String> {
    let all = Subject::ALL.into_iter().map(Subject::name).chain([ADOPT]);
    all.filter_map(|name| Some(format!("{name}={}", handled.get(name)?)))
        .collect()
}

/// Parses what [`write_handled`] wrote.
pub fn read_handled(lines: &[String]) -> BTreeMap<String, String> {
    lines
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(subject, token)| (subject.to_owned(), token.to_owned()))
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(|part| {
            part.split_once(':')
                .map_or(part, |(subject, _)| subject)
                .trim()
        })
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(rotate: &str, distrust: &str) -> Requests {
        let annotations = BTreeMap::from([
            (ROTATE_ANNOTATION.to_owned(), rotate.to_owned()),
            (DISTRUST_ANNOTATION.to_owned(), distrust.to_owned()),
        ]);
        Requests::read(Some(&annotations))
    }

    #[test]
    fn a_value_is_acted_on_when_it_differs_from_the_last_handled_one() {
        let asked = requests("ca:1, password:1", "");
        let mut handled = BTreeMap::new();
        assert!(asked.is_pending(Subject::Authority, &handled));
        assert!(asked.is_pending(Subject::Password, &handled));
        assert!(!asked.is_pending(Subject::Certificate, &handled));
        handled.insert("ca".to_owned(), asked.token(Subject::Authority).to_owned());
        assert!(!asked.is_pending(Subject::Authority, &handled));
        assert!(asked.is_pending(Subject::Password, &handled));
        assert!(requests("ca:2", "").is_pending(Subject::Authority, &handled));
        assert_eq!(requests("", "").withdrawn(&handled), [Subject::Authority]);
        assert_eq!(asked.withdrawn(&handled), []);
    }

    #[test]
    fn the_ca_is_distrusted_once_where_the_password_has_to_wait() {
        let (authority, all) = ("distrust-ca".to_owned(), "distrust-all".to_owned());
        let handled = |entries: &[(&String, &str)]| -> BTreeMap<String, String> {
            let entries = entries.iter();
            entries
                .map(|(name, token)| ((*name).clone(), (*token).to_owned()))
                .collect()
        };
        let nothing = handled(&[]);
        let part = handled(&[(&authority, "all:1")]);
        let whole = handled(&[(&all, "all:1")]);
        let asked = requests("", "all:1");
        assert!(asked.distrust_authority(&nothing));
        assert!(!asked.distrust_authority(&part) && !asked.distrust_authority(&whole));
        assert!(asked.is_pending(Subject::DistrustAll, &part));
        assert_eq!(asked.withdrawn(&part), []);
        // What was requested before is another request.
        let earlier = handled(&[(&authority, "ca:1")]);
        assert!(asked.distrust_authority(&earlier));
        assert_eq!(asked.withdrawn(&earlier), [Subject::DistrustAuthority]);
        for other in ["all:2", "ca:1", "ca,all:1"] {
            assert!(
                requests("", other).distrust_authority(&part),
                "{other} after a part"
            );
            assert!(
                requests("", other).distrust_authority(&whole),
                "{other} after the whole"
            );
        }
        assert!(!requests("", "").distrust_authority(&nothing));
        let withdrawn = requests("", "").withdrawn(&part);
        assert_eq!(withdrawn, [Subject::DistrustAuthority]);
    }

    #[test]
    fn handled_requests_in_the_status_are_read_back() {
        let handled = BTreeMap::from([
            ("ca".to_owned(), "ca:a=b,password".to_owned()),
            ("distrust-all".to_owned(), "all".to_owned()),
            ("adopt".to_owned(), "u-1".to_owned()),
        ]);
        let lines = write_handled(&handled);
        assert_eq!(
            lines,
            ["ca=ca:a=b,password", "distrust-all=all", "adopt=u-1"]
        );
        assert_eq!(read_handled(&lines), handled);
    }

    #[test]
    fn the_error_for_an_unknown_word_lists_the_valid_ones() {
        let asked = requests("leaf", "password");
        let problem = asked.problem.unwrap();
        assert!(
            problem.contains("\"leaf\"") && problem.contains("certificate"),
            "{problem}"
        );
        assert!(asked.asked.is_empty());
        assert_eq!(requests("", "all").problem, None);
    }
}
