use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::{
    render::Children,
    rotation::{
        annotations::Requests,
        evidence::{Answer, Exporter},
        recall::Stored,
        step::AuthorityStep,
    },
};

/// One node whose exporter serves a certificate that both CAs verify.
fn heard() -> Heard {
    let answer = Answer {
        serial_number: "1".to_owned(),
        verified_by: BTreeSet::from([1, 2]),
        accepted: Some(BTreeMap::new()),
        uptime: SignedDuration::from_hours(9),
    };
    Heard {
        wanted: Some(1),
        exporters: vec![Exporter {
            node: "a".to_owned(),
            ready: true,
            answer: Some(answer),
            silent_for: SignedDuration::ZERO,
        }],
    }
}

/// A pass an hour after the last one, with everything published. Returns the planned steps, whether they rest on evidence, and
/// the next state.
fn pass(known: &Known, requests: &Requests, now: Timestamp) -> (Vec<Step>, bool, Known) {
    let owner = Owner::nodes();
    let spec = ValidSpec::parse(&serde_json::from_value(json!({})).unwrap(), &owner).unwrap();
    let issued = Issued {
        provided: None,
        requests: Asked::Open(Vec::new()),
        bundle: None,
    };
    let children: Option<Children> = known.state.as_ref().map(|state| {
        let accepted = state.accepted.as_ref().unwrap();
        render::children(accepted, None, &owner, state).unwrap()
    });
    let published = Published {
        server: children.as_ref().map(|it| &*it.server_secret),
        scrape: children.as_ref().map(|it| &*it.scrape_secret),
        bundle: children.as_ref().map(|it| &it.ca_config_map),
        bundle_is_foreign: false,
    };
    let it = Circumstances {
        spec: &spec,
        owner: &owner,
        requests,
        own: &SuppliedCredentials::default(),
        issued: &issued,
        published: &published,
        heard: &heard(),
        timers: &Timers::default(),
        now,
        clock_jumped: false,
        watched_since: Timestamp::MIN,
    };
    let plan = plan(known, &it).unwrap();
    let rests = rests_on_evidence(&plan, known, &it).unwrap();
    let next = carry_out(&plan.steps, known.clone(), &spec, &owner, now).unwrap();
    let known = Known {
        stored: Stored {
            state: next.state.clone(),
            order: None,
        },
        state: next.state,
        ..Known::default()
    };
    (plan.steps, rests, known)
}

#[test]
fn only_the_drop_of_a_ca_rests_on_what_exporters_say() {
    let annotations = BTreeMap::from([("secureexporter.dev/rotate".to_owned(), "ca:1".to_owned())]);
    let requests = Requests::read(Some(&annotations));
    let mut now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let mut known = Known::default();
    let mut dropped = 0;
    for _ in 0..60 {
        let (steps, rests, next) = pass(&known, &requests, now);
        let drops = steps.contains(&Step::Authority(AuthorityStep::DropOthers));
        assert_eq!(rests, drops, "{steps:?}");
        dropped += usize::from(drops);
        known = next;
        now += SignedDuration::from_hours(1);
    }
    assert_eq!(dropped, 1);
    assert_eq!(known.state.unwrap().authorities.len(), 1);
}
