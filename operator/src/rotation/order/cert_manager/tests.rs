use jiff::SignedDuration;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::*;
use crate::{
    render::certificate_request,
    rotation::{
        carry_out::carry_out, decide as decide_rotation, evidence::Heard, situation::Situation,
    },
    spec::issuer::ValidIssuer,
    supplied::credentials::SuppliedCredentials,
};
use secure_exporter_pki::{IssuedPair, Serial, issue_authority, issue_leaf, request_leaf};

/// An issuer whose authority is ours to use, and everything that is asked of it.
struct World {
    owner: Owner,
    spec: ValidSpec,
    authority: IssuedPair,
    timers: Timers,
    now: Timestamp,
    bundle: Option<Found>,
    last_asked: Option<Timestamp>,
}

impl World {
    fn new(issuer: &Value) -> Self {
        let owner = Owner::nodes();
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        Self {
            spec: spec(&owner, issuer),
            owner,
            authority: issue_authority("other", 1, now, Serial::random().unwrap()).unwrap(),
            timers: Timers::default(),
            now,
            bundle: None,
            last_asked: None,
        }
    }

    fn first() -> Self {
        Self::new(&json!({"name": "first"}))
    }

    fn issuer(&self) -> &IssuerRef {
        match &self.spec.issuer {
            ValidIssuer::CertManager { issuer, .. } => issuer,
            other => panic!("{other:?}"),
        }
    }

    fn with<T>(&self, asked: &Asked, look: impl FnOnce(&Correspondence<'_>) -> T) -> T {
        look(&Correspondence {
            spec: &self.spec,
            owner: &self.owner,
            issuer: self.issuer(),
            asked,
            bundle: self.bundle.as_ref(),
            last_asked: self.last_asked,
            timers: &self.timers,
            now: self.now,
        })
    }

    /// A request, and the certificate that answers it.
    fn request(&self) -> (Order, String) {
        let leaf = &self.spec.certificate.parameters;
        let pair = issue_leaf(
            leaf,
            &self.authority.certificate_pem,
            &self.authority.key_pem,
            self.now,
            Serial::random().unwrap(),
        )
        .unwrap();
        let mut signing = request_leaf(leaf).unwrap();
        signing.key_pem = pair.key_pem;
        let nothing = Asked::Open(Vec::new());
        let request = Order {
            signing,
            parameters: self.with(&nothing, |it| it.parameters()),
            made: self.now,
            attempt: 1,
            refused: None,
        };
        (request, pair.certificate_pem)
    }

    /// The object of a request, with a status.
    fn answer(&self, request: &Order, status: Value) -> Asked {
        let mut object = certificate_request(&self.spec, &self.owner, self.issuer(), request);
        object.status = Some(serde_json::from_value(status).unwrap());
        Asked::Open(vec![object])
    }

    fn issued(&self, request: &Order, certificate: &str, authority: Option<&str>) -> Asked {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let ready =
            json!({"type": "Ready", "status": "True", "reason": "Issued", "message": "fetched"});
        let status = json!({
            "conditions": [ready],
            "certificate": bytes(certificate),
            "ca": authority.map(bytes),
        });
        self.answer(request, status)
    }

    fn refused(&self, request: &Order) -> Asked {
        let failed = json!({"type": "Ready", "status": "False", "reason": "Failed", "message": "no such role"});
        self.answer(request, json!({"conditions": [failed]}))
    }

    fn pending(&self, request: &Order) -> Asked {
        let missing = json!({"type": "Ready", "status": "False", "reason": "Pending", "message": "issuer \"first\" not found"});
        self.answer(request, json!({"conditions": [missing]}))
    }

    fn outcome(&self, asked: &Asked, request: &Order) -> Outcome {
        self.with(asked, |it| it.outcome(request))
    }

    /// What happens to the request, and what the machine goes by.
    fn look(
        &self,
        asked: &Asked,
        request: Option<&Order>,
        state: Option<&State>,
    ) -> (Option<OrderStep>, Result<Supplied, SupplyProblem>) {
        self.with(asked, |it| {
            let outcome = request.map(|request| (request, it.outcome(request)));
            let nothing = Requests::default();
            let step = it.step(outcome.as_ref(), state, &nothing).unwrap();
            match it.supply(outcome, state) {
                Supply::External(supplied) => (step, supplied),
                Supply::Managed => panic!("the operator was asked"),
            }
        })
    }

    /// The state after the machine has taken what is supplied.
    fn next(&self, state: Option<State>, supplied: Result<Supplied, SupplyProblem>) -> State {
        let (supply, requests) = (Supply::External(supplied), Requests::default());
        let situation = Situation {
            spec: &self.spec,
            requests: &requests,
            supply: &supply,
            own: &SuppliedCredentials::default(),
            uid: "u",
            published: true,
            heard: &Heard::nobody(),
            timers: &self.timers,
            now: self.now,
            clock_jumped: false,
            watched_since: Timestamp::MIN,
        };
        let steps = decide_rotation::decide(state.as_ref(), &situation).unwrap();
        carry_out(&steps, state, &self.spec, &self.owner, self.now).unwrap()
    }
}

fn spec(owner: &Owner, issuer: &Value) -> ValidSpec {
    let spec = json!({
        "tls": {"issuer": {"type": "CertManager", "certManager": {"issuerRef": issuer}}},
        "authentication": {"basicAuth": {"bcryptCost": 4, "rotationInterval": "Never"}},
    });
    ValidSpec::parse(&serde_json::from_value(spec).unwrap(), owner).unwrap()
}

fn problem(outcome: Outcome) -> SupplyProblem {
    match outcome {
        Outcome::Waiting(problem) | Outcome::Refused(problem) => problem,
        Outcome::Issued(_) => panic!("a certificate was issued"),
    }
}

/// What is asked for why, the how manieth time.
fn asked_for(step: Option<OrderStep>) -> Option<(Because, u32)> {
    match step {
        Some(OrderStep::Ask {
            because, attempt, ..
        }) => Some((because, attempt)),
        _ => None,
    }
}

fn once(because: Because) -> Option<(Because, u32)> {
    Some((because, 1))
}

#[test]
fn a_problem_of_the_issuer_is_reported_with_the_fix() {
    let world = World::first();
    let (request, _) = world.request();
    for (asked, reason, words) in [
        (Asked::NotInstalled, "CertManagerMissing", "not installed"),
        (
            Asked::Forbidden,
            "CertManagerForbidden",
            "not allowed to list",
        ),
        (Asked::Open(Vec::new()), "IssuerNotReady", "being created"),
        (
            world.pending(&request),
            "IssuerNotReady",
            "to Issuer first: issuer \"first\" not found",
        ),
    ] {
        let problem = problem(world.outcome(&asked, &request));
        assert_eq!(problem.reason.text(), reason);
        assert!(problem.message.contains(words), "{}", problem.message);
        let (step, supplied) = world.look(&asked, Some(&request), None);
        assert_eq!((step, supplied), (None, Err(problem)));
    }
    let (step, supplied) = world.look(&Asked::Open(Vec::new()), None, None);
    assert_eq!(asked_for(step), once(Because::First));
    assert!(supplied.is_err());
}

#[test]
fn a_refusal_is_recorded_and_reported_and_repeated_after_a_wait() {
    let world = World::first();
    let (mut request, _) = world.request();
    let asked = world.refused(&request);
    let (step, _) = world.look(&asked, Some(&request), None);
    assert_eq!(step, Some(OrderStep::NoteRefusal));
    request.refused = Some(world.now);
    let (step, supplied) = world.look(&asked, Some(&request), None);
    assert_eq!(step, None);
    let message = supplied.unwrap_err().message;
    assert!(
        message.contains("no such role; the next request follows at 2027-01-01T00:01:00Z"),
        "{message}"
    );
    let later = World {
        now: world.now + SignedDuration::from_mins(1),
        ..world
    };
    let (step, _) = later.look(&asked, Some(&request), None);
    assert_eq!(asked_for(step), Some((Because::Refused, 2)));
}

#[test]
fn a_certificate_is_checked_with_the_bundle_in_the_spec_or_else_with_the_issuers() {
    let mut world = World::first();
    let (request, certificate) = world.request();
    let authority = world.authority.certificate_pem.clone();
    let silent = world.issued(&request, &certificate, None);
    assert_eq!(
        problem(world.outcome(&silent, &request)).reason.text(),
        "BundleMissing"
    );
    let outcome = world.outcome(
        &world.issued(&request, &certificate, Some(&authority)),
        &request,
    );
    let Outcome::Issued(supplied) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(supplied.chain_pem, certificate);
    assert_eq!(supplied.bundle_pem, authority);
    assert_eq!(supplied.parameters, request.parameters);

    let place = Place::in_secret("ours", "ca.crt");
    world.bundle = Some(Found::text(place.clone(), &authority));
    assert_eq!(world.outcome(&silent, &request), Outcome::Issued(supplied));
    // Another bundle is a mistake of a person's, and no reason for another request.
    let other = World::first().authority.certificate_pem;
    world.bundle = Some(Found::text(place, &other));
    let outcome = world.outcome(&silent, &request);
    assert!(matches!(&outcome, Outcome::Waiting(_)), "{outcome:?}");
    assert_eq!(problem(outcome).reason.text(), "ChainInvalid");
}

#[test]
fn a_certificate_that_can_never_be_served_counts_as_a_refusal() {
    let world = World::first();
    let (request, _) = world.request();
    let (_, of_another_key) = world.request();
    let authority = world.authority.certificate_pem.as_str();
    let asked = world.issued(&request, &of_another_key, Some(authority));
    let (step, supplied) = world.look(&asked, Some(&request), None);
    assert_eq!(step, Some(OrderStep::NoteRefusal));
    let problem = supplied.unwrap_err();
    assert_eq!(problem.reason.text(), "RequestRefused");
    assert!(problem.message.contains("does not match"), "{problem}");
}

#[test]
fn a_renewal_is_ordered_and_the_current_certificate_is_served_meanwhile() {
    let mut world = World::first();
    let (request, certificate) = world.request();
    let authority = world.authority.certificate_pem.clone();
    let asked = world.issued(&request, &certificate, Some(&authority));
    let (step, supplied) = world.look(&asked, Some(&request), None);
    assert_eq!(step, None);
    let state = world.next(None, supplied);
    assert_eq!(state.leaf.certificate_pem, certificate);
    assert_eq!(state.authorities[&1].certificate_pem, authority);
    assert!(request.is_answered(&state));

    let nothing = Asked::Open(Vec::new());
    let (step, held) = world.look(&nothing, None, Some(&state));
    assert_eq!(step, None);
    assert_eq!(world.next(Some(state.clone()), held), state);

    // A year long, and a third of it is left.
    world.now += SignedDuration::from_hours(6000);
    let (step, _) = world.look(&nothing, None, Some(&state));
    assert_eq!(asked_for(step), once(Because::Due));
    // One that has just been asked for, and is due already, is not asked for in a loop.
    world.last_asked = Some(world.now - SignedDuration::from_secs(50));
    let (step, _) = world.look(&nothing, None, Some(&state));
    assert_eq!(step, None);
    world.last_asked = Some(world.now - SignedDuration::from_secs(60));
    let (step, _) = world.look(&nothing, None, Some(&state));
    assert_eq!(asked_for(step), once(Because::Due));
    let (renewal, renewed) = world.request();
    let (step, held) = world.look(&world.pending(&renewal), Some(&renewal), Some(&state));
    assert_eq!(step, None);
    assert_eq!(world.next(Some(state.clone()), held), state);
    world.now += SignedDuration::from_mins(2);
    let (_, held) = world.look(&world.pending(&renewal), Some(&renewal), Some(&state));
    let problem = held.clone().unwrap_err();
    assert_eq!(problem.reason.text(), "IssuerNotReady");
    assert_eq!(world.next(Some(state.clone()), held), state);

    let asked = world.issued(&renewal, &renewed, Some(&authority));
    let (step, supplied) = world.look(&asked, Some(&renewal), Some(&state));
    assert_eq!(step, None);
    let state = world.next(Some(state), supplied);
    assert_eq!(state.leaf.certificate_pem, renewed);
    assert_eq!(state.authorities.len(), 1);
}

#[test]
fn a_new_issuer_is_asked_at_once_and_served_after_scrapers_trust_its_ca() {
    let mut first = World::first();
    let (request, certificate) = first.request();
    let authority = first.authority.certificate_pem.clone();
    let asked = first.issued(&request, &certificate, Some(&authority));
    let (_, supplied) = first.look(&asked, Some(&request), None);
    let state = first.next(None, supplied);

    let second = json!({"name": "second", "kind": "ClusterIssuer"});
    first.spec = spec(&first.owner, &second);
    let (step, unknown) = first.look(&Asked::Open(Vec::new()), None, Some(&state));
    assert_eq!(asked_for(step), once(Because::SpecChanged));
    assert_eq!(first.next(Some(state.clone()), unknown).leaf, state.leaf);

    let mut world = World {
        now: first.now,
        ..World::new(&second)
    };
    let (request, certificate) = world.request();
    let authority = world.authority.certificate_pem.clone();
    let asked = world.issued(&request, &certificate, Some(&authority));
    let (_, supplied) = world.look(&asked, Some(&request), Some(&state));
    let state = world.next(Some(state), supplied.clone());
    assert_eq!(state.authorities.len(), 2);
    assert!(!request.is_answered(&state));
    // Published, and then waited for.
    let state = world.next(Some(state), supplied.clone());
    world.now += world.spec.rotation.client_overlap;
    let (step, supplied) = world.look(&asked, Some(&request), Some(&state));
    assert_eq!(step, None);
    let state = world.next(Some(state), supplied);
    assert!(request.is_answered(&state));
}
