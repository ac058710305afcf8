use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::{
    names::{DISTRUST_ANNOTATION, Owner, ROTATE_ANNOTATION},
    render::{self, bundle::bundle},
    rotation::{
        annotations::Requests,
        carry_out::carry_out,
        decide,
        evidence::Heard,
        state::{published::Published, rebuild::current_state},
        step::{AuthorityStep, LeafStep, PasswordStep, RequestStep},
        timing::Timers,
    },
    spec::{
        ValidSpec,
        issuer::{Place, ValidIssuer},
    },
    supplied::{
        certificate::{NOT_ASKED, Supply},
        credentials::SuppliedCredentials,
    },
};
use secure_exporter_pki::{IssuedPair, Serial, cross_sign, issue_authority, issue_leaf};

const OVERLAP: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// One resource, pass after pass. Everything is read back at once, and there are no exporters to wait for.
struct Passes {
    spec: ValidSpec,
    state: Option<State>,
    requests: Requests,
    now: Timestamp,
}

impl Passes {
    fn new(supply: &Supply) -> Self {
        let spec = json!({
            "authentication": {"basicAuth": {"bcryptCost": 4, "rotationInterval": "Never"}},
            "rotation": {"clientOverlap": "1h"},
            "tls": {"certificate": {"duration": "240h"}},
        });
        let spec = serde_json::from_value(spec).unwrap();
        let mut passes = Self {
            spec: ValidSpec::parse(&spec, &Owner::nodes()).unwrap(),
            state: None,
            requests: Requests::default(),
            now: "2027-01-01T00:00:00Z".parse().unwrap(),
        };
        passes.pass(supply);
        passes
    }

    fn pass(&mut self, supply: &Supply) -> Vec<Step> {
        let bundle = Place::in_secret("corporate", "ca.crt");
        self.spec.issuer = match supply {
            Supply::Managed => ValidIssuer::Managed,
            Supply::External(_) => ValidIssuer::Provided {
                secret_name: "corporate".into(),
                bundle,
            },
        };
        let situation = Situation {
            own: &SuppliedCredentials::default(),
            spec: &self.spec,
            requests: &self.requests,
            supply,
            uid: "u",
            published: true,
            heard: &Heard::nobody(),
            timers: &Timers::default(),
            now: self.now,
            clock_jumped: false,
            watched_since: Timestamp::MIN,
        };
        let steps = decide::decide(self.state.as_ref(), &situation).unwrap();
        if !steps.is_empty() {
            let state = self.state.take();
            self.state =
                Some(carry_out(&steps, state, &self.spec, &Owner::nodes(), self.now).unwrap());
        }
        // That the spec is stored whenever it changes is no subject here.
        let others = steps.into_iter().filter(|step| *step != Step::AcceptSpec);
        others.collect()
    }

    fn state(&self) -> &State {
        self.state.as_ref().unwrap()
    }

    fn ask(&mut self, annotation: &str, value: &str) {
        let annotations = BTreeMap::from([(annotation.to_owned(), value.to_owned())]);
        self.requests = Requests::read(Some(&annotations));
    }

    /// Goes on from what is published alone; what was known until then.
    fn lose_state(&mut self) -> State {
        let before = self.state.take().unwrap();
        let children = render::children(&self.spec, None, &Owner::nodes(), &before).unwrap();
        let published = Published {
            server: Some(&children.server_secret),
            scrape: Some(&children.scrape_secret),
            bundle: Some(&children.ca_config_map),
            bundle_is_foreign: false,
        };
        let handled = BTreeMap::new();
        let (state, is_rebuilt) =
            current_state(None, None, &published, &handled, &self.spec, self.now);
        assert!(is_rebuilt);
        self.state = state;
        before
    }

    fn bundle(&self) -> String {
        bundle(&self.state().authorities)
    }

    /// Passes until nothing changes any more.
    fn settle(&mut self, supply: &Supply) {
        for _ in 0..20 {
            let steps = self.pass(supply);
            self.now += OVERLAP;
            if steps.is_empty() && self.state().authority_progress.is_none() {
                return;
            }
        }
        panic!("{:?}", self.state());
    }
}

fn authority(byte: u8) -> IssuedPair {
    let now = "2027-01-01T00:00:00Z".parse().unwrap();
    issue_authority("corporate", 7, now, Serial::from_bytes([byte; 16])).unwrap()
}

fn supplied(authority: &IssuedPair, life: SignedDuration, now: Timestamp) -> Supply {
    let passes = Passes::new(&Supply::Managed);
    let mut parameters = passes.spec.certificate.parameters;
    parameters.duration = life;
    let serial = Serial::from_bytes([9; 16]);
    let (certificate, key) = (&authority.certificate_pem, &authority.key_pem);
    let leaf = issue_leaf(&parameters, certificate, key, now, serial).unwrap();
    Supply::External(Ok(Supplied {
        chain_pem: leaf.certificate_pem,
        key_pem: leaf.key_pem,
        bundle_pem: authority.certificate_pem.clone(),
        parameters: NOT_ASKED.to_owned(),
    }))
}

fn broken() -> Supply {
    Supply::External(Err(SupplyProblem::new(
        crate::supplied::certificate::SupplyReason::KeyMismatch,
        "",
    )))
}

fn serves(steps: &[Step]) -> bool {
    steps
        .iter()
        .any(|step| matches!(step, Step::Leaf(LeafStep::Serve { .. })))
}

fn is_served_of(passes: &Passes, supply: &Supply) -> bool {
    match supply {
        Supply::External(Ok(supplied)) => is_served(passes.state(), supplied),
        _ => false,
    }
}

#[test]
fn nothing_starts_before_there_is_a_certificate() {
    let mut passes = Passes::new(&broken());
    assert_eq!(passes.state, None);
    let supply = supplied(&authority(1), DAY, passes.now);
    passes.pass(&supply);
    assert!(is_served_of(&passes, &supply) && passes.state().passwords.len() == 1);
    assert_eq!(passes.state().authority_progress, None);
}

#[test]
fn a_certificate_that_every_scraper_can_verify_waits_for_nothing() {
    let root = authority(1);
    let mut passes = Passes::new(&supplied(
        &root,
        DAY,
        "2027-01-01T00:00:00Z".parse().unwrap(),
    ));
    let next = supplied(&root, DAY, passes.now);
    assert!(serves(&passes.pass(&next)));
    assert_eq!(passes.state().authority_progress, None);
    // Neither does it while another bundle is on its way, nor where everything is paused.
    let other = supplied(&authority(2), DAY, passes.now);
    passes.pass(&other);
    passes.spec.rotation.state = RotationState::Paused;
    let again = supplied(&root, DAY, passes.now);
    assert!(serves(&passes.pass(&again)));
}

#[test]
fn a_new_ca_is_published_then_served_after_the_overlap_and_alone_after_another() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let (first, second) = (
        supplied(&authority(1), DAY, begin),
        supplied(&authority(2), DAY, begin),
    );
    let mut passes = Passes::new(&first);
    assert!(!serves(&passes.pass(&second)));
    assert_eq!(passes.state().authorities.len(), 2);
    assert_eq!(
        passes.pass(&second),
        [Step::Authority(AuthorityStep::Confirm)]
    );
    passes.now += OVERLAP - SignedDuration::from_secs(1);
    assert_eq!(passes.pass(&second), []);
    passes.now += SignedDuration::from_secs(1);
    assert!(serves(&passes.pass(&second)) && is_served_of(&passes, &second));
    assert_eq!(
        passes.pass(&second),
        [Step::Authority(AuthorityStep::Confirm)]
    );
    passes.now += OVERLAP - SignedDuration::from_secs(1);
    assert_eq!(passes.pass(&second), []);
    passes.now += SignedDuration::from_secs(1);
    assert_eq!(
        passes.pass(&second),
        [Step::Authority(AuthorityStep::DropOthers)]
    );
    assert_eq!(passes.pass(&second), []);
}

#[test]
fn an_expired_certificate_is_replaced_at_once() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let hour = SignedDuration::from_hours(1);
    for waited in [false, true] {
        let mut passes = Passes::new(&supplied(&authority(1), hour, begin));
        let second = supplied(&authority(2), DAY, begin);
        if waited {
            passes.pass(&second);
        }
        passes.now += hour;
        assert!(serves(&passes.pass(&second)), "{waited}");
        assert_eq!(passes.state().authorities.len(), 2, "both are published");
    }
    // And where the operator signs from now on.
    let mut passes = Passes::new(&supplied(&authority(1), hour, begin));
    passes.pass(&Supply::Managed);
    passes.now += hour;
    let steps = passes.pass(&Supply::Managed);
    assert!(
        steps.contains(&Step::Authority(AuthorityStep::Switch)),
        "{steps:?}"
    );
}

#[test]
fn an_invalid_secret_keeps_the_last_certificate_and_delays_nothing_else() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let (first, second) = (
        supplied(&authority(1), DAY, begin),
        supplied(&authority(2), DAY, begin),
    );
    let mut passes = Passes::new(&first);
    assert_eq!(passes.pass(&broken()), []);
    passes.ask(ROTATE_ANNOTATION, "password");
    let steps = passes.pass(&broken());
    assert!(steps.contains(&Step::Password(PasswordStep::Prepare {
        generation: 2,
        own: None
    })));
    // In the middle of a change nothing is switched to, and what was switched to goes on.
    passes.pass(&second);
    passes.now += OVERLAP * 2;
    passes.pass(&broken());
    assert!(is_served_of(&passes, &first) && passes.state().authorities.len() == 2);
    passes.now += OVERLAP;
    passes.pass(&second);
    passes.settle(&broken());
    assert!(is_served_of(&passes, &second) && passes.state().authorities.len() == 1);
}

#[test]
fn going_back_before_the_new_certificate_was_served_waits_for_nothing() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let first = supplied(&authority(1), DAY, begin);
    let mut passes = Passes::new(&first);
    passes.pass(&supplied(&authority(2), DAY, begin));
    assert_eq!(
        passes.pass(&first),
        [Step::Authority(AuthorityStep::Abandon)]
    );
    assert_eq!(passes.state().authority_progress, None);
    assert_eq!(passes.state().authorities.len(), 1);
}

/// One issuer, and another one that was given a moment ago: the first one is still trusted.
fn just_changed() -> (Passes, Supply, Supply) {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let (first, second) = (
        supplied(&authority(1), DAY, begin),
        supplied(&authority(2), DAY, begin),
    );
    let mut passes = Passes::new(&first);
    passes.pass(&second);
    passes.pass(&second);
    passes.now += OVERLAP;
    passes.pass(&second);
    (passes, first, second)
}

#[test]
fn going_back_to_a_ca_that_is_still_trusted_overlaps_again() {
    let (mut passes, first, second) = just_changed();
    assert!(is_served_of(&passes, &second));
    assert!(serves(&passes.pass(&first)));
    // Exporters may serve the second one for a while.
    assert_eq!(passes.state().authorities.len(), 2);
    assert_eq!(
        passes.pass(&first),
        [Step::Authority(AuthorityStep::Confirm)]
    );
    passes.settle(&first);
    let Supply::External(Ok(supplied)) = &first else {
        panic!("it is good");
    };
    let kept: Vec<_> = passes.state().authorities.values().collect();
    assert!(kept.len() == 1 && kept[0].certificate_pem == supplied.bundle_pem);
}

#[test]
fn a_request_that_only_the_issuer_can_fulfil_is_declined_once() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let supply = supplied(&authority(1), DAY, begin);
    let mut passes = Passes::new(&supply);
    passes.ask(ROTATE_ANNOTATION, "ca,certificate:1");
    let steps = passes.pass(&supply);
    let subjects: Vec<Subject> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Request(RequestStep::Decline { subject, .. }) => Some(*subject),
            _ => None,
        })
        .collect();
    assert_eq!(subjects, [Subject::Certificate, Subject::Authority]);
    assert_eq!(passes.pass(&supply), []);

    passes.ask(DISTRUST_ANNOTATION, "all");
    let steps = passes.pass(&supply);
    assert!(steps.contains(&Step::Password(PasswordStep::Replace {
        generation: 2,
        own: None
    })));
    assert!(is_served_of(&passes, &supply));
    let declines = |step: &Step| {
        matches!(
            step,
            Step::Request(RequestStep::Decline { .. })
                | Step::Password(PasswordStep::Replace { .. })
        )
    };
    assert!(!passes.pass(&supply).iter().any(declines));
}

#[test]
fn distrust_replaces_the_operators_own_ca_while_it_still_signs() {
    let now = "2027-01-01T00:00:00Z".parse().unwrap();
    // The issuer's certificate cannot be used, or its CA is only published yet.
    for supply in [broken(), supplied(&authority(1), DAY, now)] {
        let mut passes = Passes::new(&Supply::Managed);
        passes.pass(&supply);
        let (leaked, generation) = (passes.bundle(), next(passes.state().authorities.keys()));
        passes.ask(DISTRUST_ANNOTATION, "ca");
        let steps = passes.pass(&supply);
        let replace = Step::Authority(AuthorityStep::Replace { generation });
        assert!(steps.contains(&replace), "{steps:?}");
        assert!(passes.state().signs(generation) && !leaked.contains(&passes.bundle()));
        // What is the issuer's can only be replaced there.
        let declined = |step: &Step| matches!(step, Step::Request(RequestStep::Decline { .. }));
        assert!(steps.iter().any(declined));
        assert!(!passes.pass(&supply).contains(&replace));
    }
}

#[test]
fn distrust_ends_the_overlap_with_the_previous_issuer() {
    let (mut passes, _, second) = just_changed();
    assert!(is_served_of(&passes, &second) && passes.state().authorities.len() == 2);
    passes.ask(DISTRUST_ANNOTATION, "ca");
    let drop = Step::Authority(AuthorityStep::DropOthers);
    assert!(passes.pass(&second).contains(&drop));
    assert!(is_served_of(&passes, &second) && passes.state().authorities.len() == 1);
    assert_eq!(passes.pass(&second), []);
}

#[test]
fn the_operator_renews_its_certificate_until_the_issuers_is_served() {
    let mut passes = Passes::new(&Supply::Managed);
    assert_eq!(passes.pass(&broken()), []);
    passes.now += DAY * 9;
    let because = Because::Due;
    assert_eq!(
        passes.pass(&broken()),
        [Step::Leaf(LeafStep::Issue { because })]
    );
    let supply = supplied(&authority(1), DAY, passes.now);
    passes.settle(&supply);
    assert!(is_served_of(&passes, &supply) && !passes.state().signs(2));
}

#[test]
fn the_operator_signs_again_after_the_overlap() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let supply = supplied(&authority(1), DAY, begin);
    let mut passes = Passes::new(&supply);
    passes.pass(&Supply::Managed);
    assert!(is_served_of(&passes, &supply));
    assert_eq!(passes.state().authorities.len(), 2);
    passes.settle(&Supply::Managed);
    let state = passes.state();
    assert!(state.signs(state.active_authority) && state.authorities.len() == 1);
}

#[test]
fn a_reverted_change_leaves_the_operator_as_the_issuer() {
    let mut passes = Passes::new(&Supply::Managed);
    passes.pass(&supplied(&authority(1), DAY, passes.now));
    assert_eq!(passes.state().authorities.len(), 2);
    assert_eq!(
        passes.pass(&Supply::Managed),
        [Step::Authority(AuthorityStep::Abandon)]
    );
    assert_eq!(passes.state().authorities.len(), 1);
    assert_eq!(passes.pass(&Supply::Managed), []);
}

#[test]
fn a_change_of_the_bundle_alone_is_picked_up() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let root = authority(1);
    let supply = supplied(&root, DAY * 9, begin);
    let mut passes = Passes::new(&supply);
    let Supply::External(Ok(mut both)) = supply else {
        panic!("it is good");
    };
    both.bundle_pem.push_str(&authority(2).certificate_pem);
    let wanted = both.bundle_pem.clone();
    let supply = Supply::External(Ok(both));
    passes.pass(&supply);
    let published = bundle(&passes.state().authorities);
    assert_eq!(published.matches("BEGIN").count(), 2, "one of them twice");
    passes.settle(&supply);
    let kept: Vec<_> = passes.state().authorities.values().collect();
    assert!(kept.len() == 1 && kept[0].certificate_pem == wanted);
}

/// A state that is lost while the operator is down, with an issuer whose bundle has the root alone.
#[test]
fn the_state_is_rebuilt_from_what_is_published() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let (root, issuing) = (authority(1), authority(2));
    let Supply::External(Ok(mut supplied)) = supplied(&issuing, DAY, begin) else {
        panic!("it is good");
    };
    let serial = Serial::from_bytes([3; 16]);
    let (certificate, key) = (&root.certificate_pem, &root.key_pem);
    let intermediate = cross_sign(
        "corporate",
        7,
        &issuing.key_pem,
        certificate,
        key,
        begin,
        serial,
    );
    supplied.chain_pem.push_str(&intermediate.unwrap());
    supplied.bundle_pem = root.certificate_pem.clone();
    let supply = Supply::External(Ok(supplied));
    let mut passes = Passes::new(&supply);

    let before = passes.lose_state();
    assert_eq!(passes.pass(&supply), []);
    let now = passes.state();
    assert_eq!(now.leaf.certificate_pem, before.leaf.certificate_pem);
    assert_eq!(now.authorities.len(), 1);
    let texts = |state: &State| {
        let passwords = state.passwords.values();
        passwords
            .map(|one| one.password.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(now), texts(&before));
}

/// One root of two leaves the issuer's bundle in the moment in which the state is lost: a certificate of it may be served.
#[test]
fn a_rebuilt_state_keeps_every_ca_that_may_still_be_in_use() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let (kept, left) = (authority(1), authority(2));
    let alone = supplied(&kept, DAY, begin);
    let Supply::External(Ok(mut both)) = alone.clone() else {
        panic!("it is good");
    };
    both.bundle_pem.push_str(&left.certificate_pem);
    let mut passes = Passes::new(&Supply::External(Ok(both)));
    passes.lose_state();
    for _ in 0..3 {
        passes.pass(&alone);
        assert!(passes.bundle().contains(left.certificate_pem.trim()));
    }
    passes.settle(&alone);
    assert!(!passes.bundle().contains(left.certificate_pem.trim()));
}

#[test]
fn a_rebuilt_state_serves_only_what_every_scraper_can_verify() {
    let begin = "2027-01-01T00:00:00Z".parse().unwrap();
    let mut passes = Passes::new(&supplied(&authority(1), DAY, begin));
    let next = supplied(&authority(2), DAY, begin);
    passes.pass(&next);
    let before = passes.lose_state();
    for _ in 0..3 {
        passes.pass(&next);
        assert_eq!(
            passes.state().leaf.certificate_pem,
            before.leaf.certificate_pem
        );
    }
    passes.now += OVERLAP;
    passes.pass(&next);
    assert_ne!(
        passes.state().leaf.certificate_pem,
        before.leaf.certificate_pem
    );
}
