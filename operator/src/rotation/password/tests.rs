use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{
    names::{DISTRUST_ANNOTATION, Owner, ROTATE_ANNOTATION},
    rotation::{
        annotations::Requests,
        carry_out::carry_out,
        decide,
        evidence::Heard,
        step::{PasswordStep, RequestStep},
        timing::Timers,
    },
    spec::ValidSpec,
    supplied::{
        certificate::Supply,
        credentials::{CredentialsProblem, Problem, SuppliedCredentials},
    },
};

const MINE: &str = "correct horse battery";
const OTHER: &str = "another horse battery";

fn spec() -> ValidSpec {
    let spec = json!({"authentication": {"basicAuth": {"bcryptCost": 4}}});
    ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &Owner::nodes()).unwrap()
}

fn text(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

fn usable(password: &str) -> SuppliedCredentials {
    SuppliedCredentials {
        password: UserSecret::Usable(text(password)),
        ..SuppliedCredentials::default()
    }
}

fn refused() -> SuppliedCredentials {
    SuppliedCredentials {
        password: UserSecret::Invalid(CredentialsProblem {
            field: "spec.authentication.basicAuth.passwordSecretRef",
            secret: "mine".into(),
            problem: Problem::NoSecret,
        }),
        ..SuppliedCredentials::default()
    }
}

fn unreadable() -> SuppliedCredentials {
    SuppliedCredentials {
        password: UserSecret::Unreadable,
        ..SuppliedCredentials::default()
    }
}

fn asked(annotation: &str, value: &str) -> Requests {
    let annotations = BTreeMap::from([(annotation.to_owned(), value.to_owned())]);
    Requests::read(Some(&annotations))
}

/// What is decided, and the state after it. Everything before was published; no exporter is asked.
fn pass(
    state: Option<State>,
    own: &SuppliedCredentials,
    requests: &Requests,
    now: Timestamp,
) -> (Vec<Step>, State) {
    pass_with(&spec(), state, own, requests, now)
}

fn pass_with(
    spec: &ValidSpec,
    state: Option<State>,
    own: &SuppliedCredentials,
    requests: &Requests,
    now: Timestamp,
) -> (Vec<Step>, State) {
    let situation = Situation {
        spec,
        requests,
        own,
        supply: &Supply::Managed,
        uid: "u",
        published: true,
        heard: &Heard::nobody(),
        timers: &Timers::default(),
        now,
        clock_jumped: false,
        watched_since: Timestamp::MIN,
    };
    let steps = decide::decide(state.as_ref(), &situation).unwrap();
    let state = carry_out(&steps, state, spec, &Owner::nodes(), now).unwrap();
    (steps, state)
}

fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

fn begin(own: &SuppliedCredentials) -> State {
    pass(None, own, &Requests::default(), now()).1
}

fn steps(state: &State, own: &SuppliedCredentials, requests: &Requests) -> Vec<Step> {
    pass(Some(state.clone()), own, requests, now()).0
}

fn active(state: &State) -> &Password {
    &state.passwords[&state.active_password]
}

#[test]
fn the_first_password_is_the_user_supplied_one() {
    let state = begin(&usable(MINE));
    assert_eq!(active(&state).password, Some(text(MINE)));
    assert!(active(&state).own && !active(&begin(&SuppliedCredentials::default())).own);
}

#[test]
fn a_changed_secret_starts_a_rotation_with_all_stages() {
    let (own, other) = (usable(MINE), usable(OTHER));
    let nothing = Requests::default();
    let mut state = begin(&own);
    assert_eq!(steps(&state, &own, &nothing), []);
    let mut time = now();
    let mut all_steps = Vec::new();
    while all_steps.last() != Some(&Step::Password(PasswordStep::DropOthers)) {
        let (steps, next) = pass(Some(state), &other, &nothing, time);
        state = next;
        all_steps.extend(steps);
        time += SignedDuration::from_mins(1);
    }
    let expected = [
        Step::Password(PasswordStep::Prepare {
            generation: 2,
            own: Some(text(OTHER)),
        }),
        Step::Password(PasswordStep::Confirm),
        Step::Password(PasswordStep::Switch),
        Step::Password(PasswordStep::Confirm),
        Step::Password(PasswordStep::DropOthers),
    ];
    assert_eq!(all_steps, expected);
    assert!(time.duration_since(now()) > SignedDuration::from_hours(24));
    assert_eq!(active(&state).password, Some(text(OTHER)));
    assert_eq!(steps(&state, &other, &nothing), []);
}

#[test]
fn a_change_to_a_user_supplied_password_and_back_is_a_rotation() {
    let generated = SuppliedCredentials::default();
    let nothing = Requests::default();
    let prepare = |own: Option<&str>| {
        Step::Password(PasswordStep::Prepare {
            generation: 2,
            own: own.map(text),
        })
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
fn an_unusable_secret_changes_nothing() {
    let nothing = Requests::default();
    for state in [begin(&usable(MINE)), begin(&SuppliedCredentials::default())] {
        assert_eq!(steps(&state, &refused(), &nothing), []);
    }
    // A rotation in progress continues.
    let (_, running) = pass(Some(begin(&usable(MINE))), &usable(OTHER), &nothing, now());
    assert_eq!(
        steps(&running, &refused(), &nothing),
        [Step::Password(PasswordStep::Confirm)]
    );
}

#[test]
fn a_request_to_rotate_a_user_supplied_password_is_declined_and_remembered() {
    let requests = asked(ROTATE_ANNOTATION, "password:1");
    for own in [usable(MINE), refused()] {
        let (steps, state) = pass(Some(begin(&usable(MINE))), &own, &requests, now());
        assert_eq!(steps[0], Step::Password(PasswordStep::Keep));
        assert!(matches!(
            steps[1],
            Step::Request(RequestStep::Remember { .. })
        ));
        assert_eq!(pass(Some(state), &own, &requests, now()).0, []);
    }
}

#[test]
fn a_request_to_rotate_a_password_waits_until_its_secret_can_be_read() {
    let requests = asked(ROTATE_ANNOTATION, "password:1");
    let state = begin(&usable(MINE));
    assert_eq!(steps(&state, &unreadable(), &requests), []);
    let steps = steps(&state, &usable(OTHER), &requests);
    let own = Some(text(OTHER));
    let generation = 2;
    assert_eq!(
        steps,
        [
            Step::Password(PasswordStep::Prepare { generation, own }),
            remember(Subject::Password, "password:1"),
        ]
    );
}

fn remember(subject: Subject, token: &str) -> Step {
    let token = token.to_owned();
    Step::Request(RequestStep::Remember { subject, token })
}

#[test]
fn distrust_takes_the_password_in_the_secret_and_drops_every_other_at_once() {
    let requests = asked(DISTRUST_ANNOTATION, "all:1");
    let (nothing, own) = (Requests::default(), usable(OTHER));
    let (_, rotating) = pass(Some(begin(&usable(MINE))), &own, &nothing, now());
    assert_eq!(rotating.passwords.len(), 2);
    for before in [begin(&usable(MINE)), rotating] {
        let (steps, state) = pass(Some(before), &own, &requests, now());
        assert_eq!(state.passwords.len(), 1);
        assert_eq!(active(&state).password, Some(text(OTHER)));
        assert!(!steps.contains(&Step::Password(PasswordStep::Keep)));
        assert!(steps.contains(&remember(Subject::DistrustAll, "all:1")));
        assert_eq!(pass(Some(state), &own, &requests, now()).0, []);
    }
    let generated = SuppliedCredentials::default();
    let (_, state) = pass(Some(begin(&generated)), &generated, &requests, now());
    assert!(!active(&state).own);
}

#[test]
fn a_leaked_password_stays_distrusted_until_its_secret_has_another_one() {
    let requests = asked(DISTRUST_ANNOTATION, "all:1");
    for own in [unreadable(), refused(), usable(MINE)] {
        let before = begin(&usable(MINE));
        let (_, state) = pass(Some(before.clone()), &own, &requests, now());
        // The CA does not wait for it, and is replaced once.
        assert_eq!(state.active_authority, 2);
        assert_eq!(state.passwords, before.passwords);
        assert!(requests.is_pending(Subject::DistrustAll, &state.handled));
        assert_eq!(steps(&state, &own, &requests), []);
        // A rotation would let the leaked one overlap.
        let (steps, state) = pass(Some(state), &usable(OTHER), &requests, now());
        let generation = 2;
        assert_eq!(
            steps,
            [
                Step::Password(PasswordStep::Replace {
                    generation,
                    own: Some(text(OTHER))
                }),
                remember(Subject::DistrustAll, "all:1"),
            ]
        );
        assert_eq!(state.passwords.len(), 1);
        assert_eq!(pass(Some(state), &usable(OTHER), &requests, now()).0, []);
    }
}

#[test]
fn a_leaked_password_that_was_also_lost_is_not_accepted_while_its_secret_is_unusable() {
    let requests = asked(DISTRUST_ANNOTATION, "all:1");
    for own in [unreadable(), refused()] {
        let mut state = begin(&usable(MINE));
        state.passwords.get_mut(&1).unwrap().password = None;
        let (_, state) = pass(Some(state), &own, &requests, now());
        assert!(state.passwords.len() == 1 && !active(&state).own);
        assert!(requests.is_pending(Subject::DistrustAll, &state.handled));
        let (_, state) = pass(Some(state), &usable(OTHER), &requests, now());
        assert_eq!(active(&state).password, Some(text(OTHER)));
        assert_eq!(state.passwords.len(), 1);
        assert!(!requests.is_pending(Subject::DistrustAll, &state.handled));
    }
}

#[test]
fn a_lost_password_is_replaced_at_once_by_one_that_can_be_published() {
    let mut state = begin(&usable(MINE));
    let lost = state.active_password;
    state.passwords.get_mut(&lost).unwrap().password = None;
    for (own, expected) in [(usable(MINE), Some(text(MINE))), (refused(), None)] {
        let own_text = expected.clone();
        let prepare = Step::Password(PasswordStep::Prepare {
            generation: 2,
            own: own_text,
        });
        assert_eq!(
            steps(&state, &own, &Requests::default()),
            [prepare, Step::Password(PasswordStep::Switch)]
        );
    }
}

#[test]
fn a_set_cost_is_applied_at_once_and_a_default_one_to_the_next_password() {
    let (own, nothing) = (SuppliedCredentials::default(), Requests::default());
    let spec = |basic_auth| {
        let spec = json!({"authentication": {"basicAuth": basic_auth}});
        ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &Owner::nodes()).unwrap()
    };
    // As an operator with another default made it.
    let (_, mut state) = pass_with(&spec(json!({"bcryptCost": 5})), None, &own, &nothing, now());
    let default = spec(json!({}));
    state.accepted = Some(default.clone());
    assert_eq!(
        pass_with(&default, Some(state.clone()), &own, &nothing, now()).0,
        []
    );
    let requests = asked(ROTATE_ANNOTATION, "password:1");
    let (_, rotated) = pass_with(&default, Some(state.clone()), &own, &requests, now());
    assert_eq!(
        (rotated.passwords[&1].cost, rotated.passwords[&2].cost),
        (5, 6)
    );
    let mut set = spec(json!({"bcryptCost": 4}));
    state.accepted = Some(set.clone());
    let (steps, state) = pass_with(&set, Some(state), &own, &nothing, now());
    assert_eq!(steps, [Step::Password(PasswordStep::HashAgain)]);
    assert_eq!(active(&state).cost, 4);
    // What a user no longer sets stays until the next password.
    set = default;
    let (steps, state) = pass_with(&set, Some(state), &own, &nothing, now());
    assert_eq!((steps, active(&state).cost), (vec![Step::AcceptSpec], 4));
}
