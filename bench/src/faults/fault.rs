//! The faults, and how each one is drilled.

use std::{fmt, time::Duration};

use clap::Args;

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The API server is stopped: connections stay open, and nothing is answered.
    ApiServerStopped,
    /// The API server is killed while the connections to it hang, so that no client sees them close.
    ApiServerKilledSilently,
    /// etcd is killed and started again.
    EtcdRestarted,
    /// etcd refuses writes because it has no space left.
    DiskFull,
    /// The operator is cut off until the API server no longer has the versions from which it watched.
    WatchesExpired,
    /// Every request is answered 429.
    TooManyRequests,
    /// Every request takes two seconds.
    Latency,
    /// The operator lacks one verb of a rule of its Role.
    Forbidden(Right),
    /// The operator is killed.
    Killed(Moment),
    /// The operator starts with a clock that is an hour wrong.
    WrongClock(ClockError),
}

/// A verb of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The index of the rule in the Role.
    pub rule: usize,
    /// The resources of the rule, for output.
    pub resources: String,
    /// The verb.
    pub verb: String,
}

/// When the operator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When a rotation was requested, and nothing is written yet.
    Requested,
    /// In this stage of a CA's rotation.
    CaStage(&'static str),
    /// In this stage of a password's rotation.
    PasswordStage(&'static str),
}

/// The error of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// An hour ahead.
    Ahead,
    /// An hour behind.
    Behind,
}

/// Where the operator runs when the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In its pod, as the chart installed it.
    Pod,
    /// On this machine, with the gate between it and the API server.
    BehindGate,
}

/// When the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Before the rotation is requested.
    BeforeRequest,
    /// As soon as the rotation is requested.
    WithRequest,
    /// When the rotation has begun.
    WhenRotating,
    /// In this stage of the rotation.
    InStage(&'static str),
}

/// How long faults last.
#[derive(Args, Clone, Copy, Debug)]
pub struct Durations {
    /// Seconds for which the API server is stopped
    #[arg(long, default_value_t = 300)]
    pub outage: u64,
    /// Seconds for which a verb is forbidden
    #[arg(long, default_value_t = 10)]
    pub forbidden: u64,
    /// Seconds for which the other faults last, except those that are over at once
    #[arg(long, default_value_t = 40)]
    pub others: u64,
}

/// Returns every fault, with one for each of these rights.
pub fn all(rights: Vec<Right>) -> Vec<Fault> {
    let moments = [
        Moment::Requested,
        Moment::CaStage("TrustPublished"),
        Moment::CaStage("LeafSwitched"),
        Moment::PasswordStage("Accepting"),
        Moment::PasswordStage("ClientSwitched"),
    ];
    let mut all = vec![
        Fault::ApiServerStopped,
        Fault::ApiServerKilledSilently,
        Fault::EtcdRestarted,
        Fault::DiskFull,
        Fault::WatchesExpired,
        Fault::TooManyRequests,
        Fault::Latency,
        Fault::WrongClock(ClockError::Ahead),
        Fault::WrongClock(ClockError::Behind),
    ];
    all.extend(moments.map(Fault::Killed));
    all.extend(rights.into_iter().map(Fault::Forbidden));
    all
}

impl Fault {
    /// What is rotated during the fault, separated by commas.
    pub fn subjects(&self) -> &'static str {
        match self {
            Self::Killed(Moment::CaStage(_)) => "ca",
            Self::Killed(Moment::PasswordStage(_)) => "password",
            _ => "ca,password",
        }
    }

    /// Where the operator runs when the fault begins.
    pub fn place(&self) -> Place {
        match self {
            Self::ApiServerKilledSilently
            | Self::WatchesExpired
            | Self::TooManyRequests
            | Self::Latency => Place::BehindGate,
            _ => Place::Pod,
        }
    }

    /// When the fault begins.
    pub fn begins(&self) -> Begin {
        match self {
            // The rotation must record times of the wrong clock: waiting for those could take an hour.
            Self::WrongClock(_) => Begin::BeforeRequest,
            Self::Killed(Moment::Requested) => Begin::WithRequest,
            Self::Killed(Moment::CaStage(stage) | Moment::PasswordStage(stage)) => {
                Begin::InStage(stage)
            }
            _ => Begin::WhenRotating,
        }
    }

    /// How long the fault lasts.
    pub fn lasts(&self, durations: &Durations) -> Duration {
        Duration::from_secs(match self {
            Self::ApiServerStopped => durations.outage,
            Self::EtcdRestarted | Self::Killed(_) => 0,
            Self::Forbidden(_) => durations.forbidden,
            _ => durations.others,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiServerStopped => formatter.write_str("API server stopped"),
            Self::ApiServerKilledSilently => {
                formatter.write_str("API server killed while connections hang")
            }
            Self::EtcdRestarted => formatter.write_str("etcd restarted"),
            Self::DiskFull => formatter.write_str("disk of etcd full"),
            Self::WatchesExpired => formatter.write_str("410 Gone after a cut"),
            Self::TooManyRequests => formatter.write_str("429 for every request"),
            Self::Latency => formatter.write_str("2 s of latency"),
            Self::Forbidden(right) => {
                write!(formatter, "403: no {} of {}", right.verb, right.resources)
            }
            Self::Killed(Moment::Requested) => {
                formatter.write_str("operator killed right after the request")
            }
            Self::Killed(Moment::CaStage(stage)) => {
                write!(formatter, "operator killed in {stage} of the CA")
            }
            Self::Killed(Moment::PasswordStage(stage)) => {
                write!(formatter, "operator killed in {stage} of the password")
            }
            Self::WrongClock(ClockError::Ahead) => {
                formatter.write_str("operator started with a clock an hour ahead")
            }
            Self::WrongClock(ClockError::Behind) => {
                formatter.write_str("operator started with a clock an hour behind")
            }
        }
    }
}
