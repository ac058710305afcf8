use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kube::core::Status;
use serde_json::json;

use super::*;
use crate::{
    api::PasswordSecretRef,
    apply::error::ApplyError,
    names::{ChildKind, DISTRUST_ANNOTATION},
    report::{news, pod_problems::Complaint},
    rotation::{
        adoption::Adoption,
        annotations::Requests,
        because::Because,
        carry_out::carry_out,
        evidence::{Answer, Exporter, Holding, Tally, Waiting},
        state::{PasswordStage, Progress},
        step::{AuthorityStep, LeafStep, PasswordStep, Step},
        timing::Timers,
    },
    supplied::credentials::{
        CredentialsProblem, PASSWORD_FIELD, Problem::NoSecret, SuppliedCredentials, UserSecret,
    },
};

/// A resource in its third generation, of which everything is well.
struct World {
    owner: Owner,
    spec: ValidSpec,
    state: State,
    timers: Timers,
    daemon_set: Child<DaemonSet>,
    complaints: Vec<Complaint>,
    complaints_are_known: bool,
    rivals: Vec<Owner>,
    is_settled: bool,
    exporters: Option<Vec<Exporter>>,
    waiting: Waiting,
    problems: Vec<Problem>,
    requests: Requests,
    own: Option<SuppliedCredentials>,
    previous: SecureExporterStatus,
}

fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

fn owner(name: &str) -> Owner {
    Owner {
        name: name.into(),
        namespace: "monitoring".into(),
        uid: name.into(),
    }
}

fn set(desired: i32, ready: i32) -> Child<DaemonSet> {
    let set = json!({"metadata": {"name": "nodes", "generation": 2}, "status": {"observedGeneration": 2,
        "desiredNumberScheduled": desired, "numberReady": ready, "currentNumberScheduled": desired,
        "updatedNumberScheduled": desired, "numberMisscheduled": 0}});
    Child::Ours(serde_json::from_value(set).unwrap())
}

fn failure(code: u16) -> kube::Error {
    let message = "pods is forbidden: User \"operator\" cannot list resource \"pods\"";
    kube::Error::Api(Box::new(Status::failure(message, "").with_code(code)))
}

impl World {
    fn new() -> Self {
        let owner = owner("nodes");
        let spec = json!({"authentication": {"basicAuth": {"bcryptCost": 4}}});
        let spec = ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &owner).unwrap();
        let because = Because::First;
        let own = None;
        let steps = [
            Step::Authority(AuthorityStep::Replace { generation: 1 }),
            Step::Leaf(LeafStep::Issue { because }),
            Step::Password(PasswordStep::Replace { generation: 1, own }),
        ];
        let state = carry_out(&steps, None, &spec, &owner, now()).unwrap();
        let serial_number = inspect(&state.leaf.certificate_pem).unwrap().serial_number;
        let verified = Exporter {
            node: "a".into(),
            ready: true,
            answer: Some(Answer {
                serial_number,
                verified_by: BTreeSet::new(),
                accepted: Some(BTreeMap::new()),
                uptime: SignedDuration::ZERO,
            }),
            silent_for: SignedDuration::ZERO,
        };
        let mut world = Self {
            owner,
            spec,
            state,
            timers: Timers::default(),
            daemon_set: set(1, 1),
            complaints: Vec::new(),
            complaints_are_known: true,
            rivals: Vec::new(),
            is_settled: true,
            exporters: Some(vec![verified]),
            waiting: Waiting::Nobody,
            problems: Vec::new(),
            requests: Requests::default(),
            own: None,
            previous: SecureExporterStatus::default(),
        };
        world.previous = world.status(2);
        world
    }

    fn status(&self, generation: i64) -> SecureExporterStatus {
        let seen = Seen {
            owner: &self.owner,
            served: Some(Served {
                spec: &self.spec,
                state: &self.state,
            }),
            daemon_set: &self.daemon_set,
            complaints: &self.complaints,
            complaints_are_known: self.complaints_are_known,
            port_rivals: &self.rivals,
            spec: Some(&self.spec),
            generation: Some(generation),
            is_settled: self.is_settled,
            is_complete: true,
            exporters: self.exporters.as_deref(),
            waiting: &self.waiting,
            requests: &self.requests,
            adoption: &Adoption::NotAsked,
            ours_since: None,
            own: self.own.as_ref(),
            supply: None,
            timers: &self.timers,
            problems: &self.problems,
        };
        status(&self.previous, &seen, now())
    }

    /// Status, reason and message of a condition.
    fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.status(3);
        let found = status.conditions.into_iter().find(|it| it.type_ == type_);
        let found = found.unwrap();
        (found.status, found.reason, found.message)
    }

    fn is(&self, type_: &str, status: &str, reason: &str) -> String {
        let (found_status, found_reason, message) = self.condition(type_);
        assert_eq!(
            (found_status.as_str(), found_reason.as_str()),
            (status, reason),
            "{type_}: {message}"
        );
        message
    }
}

#[test]
fn pods_that_must_not_be_read_are_not_known() {
    let mut world = World::new();
    world.is(conditions::READY, "True", "AllNodesServing");
    world.problems = vec![Problem::read(Reading::Pods, &failure(403))];
    world.exporters = None;
    world.waiting = Waiting::NotKnown;
    world.complaints_are_known = false;
    let message = world.is(conditions::READY, "Unknown", "Forbidden");
    assert_eq!(
        message,
        "This is not known: cannot read the pods of the DaemonSet: pods is forbidden: User \"operator\" cannot list resource \"pods\"; the chart's Role or ClusterRole grants this right: restore it, for example by helm upgrade."
    );
    for type_ in [
        conditions::EXPORTERS_VERIFIED,
        conditions::PORT_CONFLICT,
        conditions::ROTATION_BLOCKED,
    ] {
        world.is(type_, "Unknown", "Forbidden");
    }
    world.is(conditions::STALLED, "True", "Forbidden");
    let status = world.status(3);
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(status.nodes.unwrap().verified, None);
    // What the DaemonSet says is known all the same.
    world.daemon_set = set(2, 1);
    let message = world.is(conditions::READY, "False", "DaemonSetNotReady");
    assert!(message.contains("The cause is not known: "), "{message}");
}

#[test]
fn a_daemon_set_that_must_not_be_read_is_not_known() {
    let mut world = World::new();
    world.daemon_set = Child::Unknown(failure(403));
    let unread = ApplyError::unread("DaemonSet".into(), "nodes".into(), &failure(403));
    world.problems = vec![Problem::child(ChildKind::DaemonSet, unread)];
    world.exporters = None;
    world.is(conditions::READY, "Unknown", "Forbidden");
    world.is(conditions::AVAILABLE, "Unknown", "Forbidden");
    assert_eq!(world.status(3).nodes, None);
}

#[test]
fn a_passing_failure_keeps_what_was_known_and_the_generation_that_it_is_about() {
    let mut world = World::new();
    world.daemon_set = Child::Unknown(failure(503));
    let unread = ApplyError::unread("DaemonSet".into(), "nodes".into(), &failure(503));
    world.problems = vec![Problem::child(ChildKind::DaemonSet, unread)];
    world.exporters = None;
    let status = world.status(3);
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(status.nodes, world.previous.nodes);
    world.is(conditions::READY, "True", "AllNodesServing");
}

#[test]
fn a_changed_spec_is_not_reported_as_ready_before_it_was_applied() {
    let mut world = World::new();
    // The DaemonSet that was read is the one of the previous spec.
    world.is_settled = false;
    assert_eq!(world.status(3).observed_generation, Some(2));
    world.is_settled = true;
    assert_eq!(world.status(3).observed_generation, Some(3));
}

#[test]
fn exporters_on_nodes_that_have_gone_are_not_verified() {
    let mut world = World::new();
    assert_eq!(world.status(3).nodes.unwrap().verified, Some(1));
    world.daemon_set = set(0, 0);
    assert_eq!(world.status(3).nodes.unwrap().verified, Some(0));
    world.daemon_set = Child::Absent;
    assert_eq!(world.status(3).nodes.unwrap().verified, Some(0));
}

#[test]
fn what_keeps_pods_from_running_is_explained_with_the_solution() {
    let mut world = World::new();
    world.daemon_set = set(1, 0);
    let cases = [
        (
            Complaint::Refused("pods \"nodes-…\" is forbidden: exceeded quota: none".into()),
            "PodsRefused",
            "The API server refuses to create the exporter's pods, so nodes are without metrics: pods \"nodes-…\" is forbidden: exceeded quota: none. Change the quota, priority class or admission policy that refuses them. Kubernetes then creates them automatically, after up to 17 minutes, or at once after: kubectl annotate daemonset nodes -n monitoring --overwrite retried=\"$(date)\"",
        ),
        (
            Complaint::PortForbidden,
            "PortForbidden",
            "The exporter may not listen on port 9100: ports below 1024 need a privilege that its container does not have. Set spec.exporter.port to a port from 1024.",
        ),
        (
            Complaint::PortTaken,
            "PortConflict",
            "Port 9100 is in use on at least one node, so the exporter cannot start there. Stop the process that uses it (node_exporter, for example), set spec.exporter.port to a free port, or set spec.hostAccess.network to Pod.",
        ),
    ];
    for (complaint, reason, message) in cases {
        world.complaints = vec![complaint];
        assert_eq!(world.is(conditions::READY, "False", reason), message);
        assert_eq!(world.is(conditions::STALLED, "True", reason), message);
    }
    world.rivals = vec![owner("other")];
    assert_eq!(
        world.is(conditions::PORT_CONFLICT, "True", "PortTaken"),
        "Port 9100 is in use on at least one node, so the exporter cannot start there. It is also the port of SecureExporter monitoring/other: delete one of them, set spec.exporter.port to a free port, or set spec.hostAccess.network to Pod."
    );
}

#[test]
fn the_condition_of_a_resource_that_nobody_looked_at_does_not_stay() {
    let default = conditions::merge(
        &[],
        vec![Finding::unknown(conditions::READY, DEFAULT_REASON, "No operator.").into()],
        None,
        Timestamp::UNIX_EPOCH,
    );
    let status = without_default(SecureExporterStatus {
        conditions: default,
        ..SecureExporterStatus::default()
    });
    assert_eq!(status.conditions, []);
}

/// A refused write of a Secret.
fn unwritten(child: ChildKind, code: u16) -> Problem {
    let refused = Status::failure("secrets \"nodes-server\" is forbidden", "").with_code(code);
    let source = ApplyError::Api {
        verb: "update",
        kind: "Secret".into(),
        name: "nodes-server".into(),
        source: Box::new(kube::Error::Api(Box::new(refused))),
    };
    Problem::child(child, source)
}

fn distrust(value: &str) -> Requests {
    let annotations = BTreeMap::from([(DISTRUST_ANNOTATION.to_owned(), value.to_owned())]);
    Requests::read(Some(&annotations))
}

#[test]
fn a_request_is_not_handled_before_its_outcome_is_published() {
    let mut world = World::new();
    world.requests = distrust("ca:1");
    // It could not be stored.
    world.problems = vec![unwritten(ChildKind::State, 503)];
    let message = world.is(conditions::REQUESTS_ACCEPTED, "True", "Queued");
    assert!(message.starts_with("Queued: distrust-ca. The old credentials are still in use"));
    let handled = &mut world.state.handled;
    handled.insert("distrust-ca".into(), "ca:1".into());
    for child in [ChildKind::State, ChildKind::Server, ChildKind::Scrape] {
        for code in [503, 403] {
            world.problems = vec![unwritten(child, code)];
            let message = world.is(conditions::REQUESTS_ACCEPTED, "True", "Queued");
            assert!(message.contains("not published yet"), "{message}");
            assert_eq!(world.status(3).handled_requests, [""; 0]);
        }
    }
    world.problems = vec![unwritten(ChildKind::Service, 403)];
    let message = world.is(conditions::REQUESTS_ACCEPTED, "True", "Handled");
    assert_eq!(message, "Handled: distrust-ca.");
    assert_eq!(world.status(3).handled_requests, ["distrust-ca=ca:1"]);
}

#[test]
fn a_leaked_password_that_had_to_stay_is_reported_with_the_way_out() {
    let mut world = World::new();
    world.requests = distrust("all:1");
    let handled = &mut world.state.handled;
    handled.insert("distrust-ca".into(), "all:1".into());
    world.spec.password_secret = Some(PasswordSecretRef {
        name: "mine".into(),
        key: "password".into(),
    });
    let active = world.state.passwords[&1].password.clone().unwrap();
    let invalid = UserSecret::Invalid(CredentialsProblem {
        field: PASSWORD_FIELD,
        secret: "mine".into(),
        problem: NoSecret,
    });
    for (password, way_out) in [
        (UserSecret::Unreadable, "could not be read"),
        (invalid, "it does not exist: create it"),
        (
            UserSecret::Usable(active.clone()),
            "put another password into the Secret",
        ),
    ] {
        world.own = Some(SuppliedCredentials {
            password,
            ..SuppliedCredentials::default()
        });
        let message = world.is(
            conditions::REQUESTS_ACCEPTED,
            "False",
            "PasswordNotReplaced",
        );
        let begin = "Not finished: distrust-all. Exporters still accept the password that leaked.";
        assert!(message.starts_with(begin), "{message}");
        assert!(message.contains("Secret mine") && message.contains(way_out));
        assert!(!message.contains(active.expose()));
        // It is announced, too.
        let status = world.status(3);
        let news = news::newly_refused(&world.previous, &status);
        assert_eq!(news, Some(("PasswordNotReplaced", message.as_str())));
    }
    let handled = &mut world.state.handled;
    handled.insert("distrust-all".into(), "all:1".into());
    world.is(conditions::REQUESTS_ACCEPTED, "True", "Handled");
}

#[test]
fn a_rotation_that_cannot_be_published_is_not_blamed_on_the_nodes() {
    let mut world = World::new();
    let behind = Tally {
        holding: vec![("a".into(), Holding::RefusesNewPassword)],
        ..Tally::default()
    };
    world.state.password_progress = Some(Progress::begin(PasswordStage::Accepting, now()));
    world.waiting = Waiting::For(behind);
    world.is(conditions::ROTATION_BLOCKED, "True", "Stragglers");
    for child in [
        ChildKind::State,
        ChildKind::Server,
        ChildKind::Scrape,
        ChildKind::Bundle,
    ] {
        for waiting in [world.waiting.clone(), Waiting::Nobody, Waiting::NotKnown] {
            let waiting = std::mem::replace(&mut world.waiting, waiting);
            world.problems = vec![unwritten(child, 503), unwritten(child, 403)];
            assert_eq!(
                world.is(conditions::ROTATION_BLOCKED, "True", "NotPublished"),
                "The rotation cannot continue, because not everything could be published: cannot update Secret nodes-server: secrets \"nodes-server\" is forbidden. The old credential keeps working."
            );
            let (.., rotating) = world.condition(conditions::ROTATING);
            assert!(
                rotating.ends_with("This cannot continue: see the condition RotationBlocked."),
                "{rotating}"
            );
            // A passing failure is no news, and no fault of the nodes either.
            world.problems = vec![unwritten(child, 503)];
            world.is(conditions::ROTATION_BLOCKED, "False", "Free");
            let (.., rotating) = world.condition(conditions::ROTATING);
            assert!(!rotating.contains("RotationBlocked"), "{rotating}");
            world.waiting = waiting;
        }
    }
    // What others may fail to write holds no rotation up.
    world.problems = vec![unwritten(ChildKind::Service, 403)];
    world.is(conditions::ROTATION_BLOCKED, "True", "Stragglers");
    // Without a rotation, nothing is blocked.
    world.state.password_progress = None;
    world.waiting = Waiting::Nobody;
    world.problems = vec![unwritten(ChildKind::Server, 403)];
    world.is(conditions::ROTATION_BLOCKED, "False", "Free");
}
