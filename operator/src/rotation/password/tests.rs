use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{
    names::{DISTRUST_ANNOTATION, Owner, ROTATE_ANNOTATION},
    rotation::{annotations::Requests, carry_out::carry_out, decide, timing::Timers},
    spec::ValidSpec,
    supplied::{
        certificate::Supply,
        credentials::{OwnCredentials, OwnProblem, Problem},
    },
};

const MINE: &str = "correct horse battery";

fn owner() -> Owner {
    Owner {
        name: "nodes".into(),
        namespace: "monitoring".into(),
        uid: "u".into(),
    }
}

fn spec() -> ValidSpec {
    let spec = json!({"authentication": {"basicAuth": {"bcryptCost": 4}}});
    ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &owner()).unwrap()
}

fn text(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

fn usable(password: &str) -> OwnCredentials {
    OwnCredentials {
        password: Own::Usable(text(password)),
        ..OwnCredentials::default()
    }
}

fn refused() -> OwnCredentials {
    OwnCredentials {
        password: Own::Refused(OwnProblem {
            secret: "mine".into(),
            problem: Problem::NoSecret,
        }),
        ..OwnCredentials::default()
    }
}

fn asked(annotation: &str, value: &str) -> Requests {
    let annotations = BTreeMap::from([(annotation.to_owned(), value.to_owned())]);
    Requests::read(Some(&annotations))
}

/// What is decided, and the state after it. Everything before was published; nobody is asked.
fn pass(
    state: Option<State>,
    own: &OwnCredentials,
    requests: &Requests,
    now: Timestamp,
) -> (Vec<Step>, State) {
    let spec = spec();
    let situation = Situation {
        spec: &spec,
        requests,
        own,
        supply: &Supply::Managed,
        uid: "u",
        published: true,
        exporters: &[],
        timers: &Timers::default(),
        now,
        clock_jumped: false,
    };
    let steps = decide::decide(state.as_ref(), &situation).unwrap();
    let state = carry_out(&steps, state, &spec, &owner(), now).unwrap();
    (steps, state)
}

fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

fn begin(own: &OwnCredentials) -> State {
    pass(None, own, &Requests::default(), now()).1
}

fn steps(state: &State, own: &OwnCredentials, requests: &Requests) -> Vec<Step> {
    pass(Some(state.clone()), own, requests, now()).0
}

fn active(state: &State) -> &Password {
    &state.passwords[&state.active_password]
}

#[test]
fn the_first_password_is_the_users_own() {
    let state = begin(&usable(MINE));
    assert_eq!(active(&state).password, Some(text(MINE)));
    assert!(active(&state).own && !active(&begin(&OwnCredentials::default())).own);
}

#[test]
fn another_password_in_the_secret_is_a_rotation_with_all_its_stages() {
    let (own, other) = (usable(MINE), usable("another horse battery"));
    let nothing = Requests::default();
    let mut state = begin(&own);
    assert_eq!(steps(&state, &own, &nothing), []);
    let mut time = now();
    let mut told = Vec::new();
    while told.last() != Some(&Step::DropPasswords) {
        let (steps, next) = pass(Some(state), &other, &nothing, time);
        state = next;
        told.extend(steps);
        time += SignedDuration::from_mins(1);
    }
    let expected = [
        Step::PreparePassword {
            generation: 2,
            own: Some(text("another horse battery")),
        },
        Step::ConfirmPassword,
        Step::SwitchPassword,
        Step::ConfirmPassword,
        Step::DropPasswords,
    ];
    assert_eq!(told, expected);
    assert!(time.duration_since(now()) > SignedDuration::from_hours(24));
    assert_eq!(active(&state).password, Some(text("another horse battery")));
    assert_eq!(steps(&state, &other, &nothing), []);
}

#[test]
fn from_generated_to_own_and_back_is_a_rotation() {
    let generated = OwnCredentials::default();
    let nothing = Requests::default();
    let prepare = |own: Option<&str>| Step::PreparePassword {
        generation: 2,
        own: own.map(text),
    };
    let state = begin(&generated);
    assert_eq!(
        steps(&state, &usable(MINE), &nothing),
        [prepare(Some(MINE))]
    );
    let state = begin(&usable(MINE));
    assert_eq!(steps(&state, &generated, &nothing), [prepare(None)]);
}

#[test]
fn a_secret_that_cannot_be_used_changes_nothing() {
    let nothing = Requests::default();
    for state in [begin(&usable(MINE)), begin(&OwnCredentials::default())] {
        assert_eq!(steps(&state, &refused(), &nothing), []);
    }
    // What runs goes on.
    let (_, running) = pass(
        Some(begin(&usable(MINE))),
        &usable("another horse battery"),
        &nothing,
        now(),
    );
    assert_eq!(
        steps(&running, &refused(), &nothing),
        [Step::ConfirmPassword]
    );
}

#[test]
fn a_request_for_another_password_is_answered_and_remembered() {
    let requests = asked(ROTATE_ANNOTATION, "password:1");
    for own in [usable(MINE), refused()] {
        let (steps, state) = pass(Some(begin(&usable(MINE))), &own, &requests, now());
        assert_eq!(steps[0], Step::KeepPassword);
        assert!(matches!(steps[1], Step::Remember { .. }));
        assert_eq!(pass(Some(state), &own, &requests, now()).0, []);
    }
}

#[test]
fn distrust_takes_what_the_secret_holds_and_drops_every_other_at_once() {
    let requests = asked(DISTRUST_ANNOTATION, "all:1");
    for (own, expected, kept) in [
        (
            usable("another horse battery"),
            "another horse battery",
            false,
        ),
        (usable(MINE), MINE, true),
        (refused(), MINE, true),
    ] {
        let (steps, state) = pass(Some(begin(&usable(MINE))), &own, &requests, now());
        assert_eq!(state.passwords.len(), 1);
        assert_eq!(state.active_password, 2);
        assert_eq!(active(&state).password, Some(text(expected)));
        assert_eq!(steps.contains(&Step::KeepPassword), kept, "{steps:?}");
        assert_eq!(pass(Some(state), &own, &requests, now()).0, []);
    }
    let (_, state) = pass(
        Some(begin(&OwnCredentials::default())),
        &OwnCredentials::default(),
        &requests,
        now(),
    );
    assert!(!active(&state).own);
}

#[test]
fn a_lost_text_is_followed_at_once_by_one_that_scrapers_can_be_told() {
    let mut state = begin(&usable(MINE));
    let lost = state.active_password;
    state.passwords.get_mut(&lost).unwrap().password = None;
    for (own, expected) in [(usable(MINE), Some(text(MINE))), (refused(), None)] {
        let own_text = expected.clone();
        let prepare = Step::PreparePassword {
            generation: 2,
            own: own_text,
        };
        assert_eq!(
            steps(&state, &own, &Requests::default()),
            [prepare, Step::SwitchPassword]
        );
    }
}
