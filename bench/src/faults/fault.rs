//! The faults, and how each is drilled.

use std::{fmt, time::Duration};

use clap::Args;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The API server stands still: connections stay open, and nothing is answered.
    ApiServerStopped,
    /// The API server is killed while the way to it swallows everything, so that nobody learns of it.
    ApiServerGoneSilently,
    /// etcd is killed and started again.
    EtcdRestarted,
    /// etcd refuses writes for want of space.
    DiskFull,
    /// The operator was cut off until the API server no longer had the versions from which it watched.
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
    WrongClock(Wrong),
}

/// A verb of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Which rule, from 0.
    pub rule: usize,
    /// What it is for.
    pub resources: String,
    /// The verb.
    pub verb: String,
}

/// When the operator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When a rotation was asked for and nothing is written yet.
    Asked,
    /// In this stage of a CA's rotation.
    OfAuthority(&'static str),
    /// In this stage of a password's rotation.
    OfPassword(&'static str),
}

/// How wrong a clock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// By an hour.
    Ahead,
    /// By an hour.
    Behind,
}

/// Where the operator runs when the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In its pod, as the chart installed it.
    Pod,
    /// On this machine, with the gate between it and the API server.
    BehindTheGate,
}

/// When the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Before the rotation is asked for.
    BeforeTheRequest,
    /// As soon as it is asked for.
    WithTheRequest,
    /// When a rotation is on its way.
    WhenRotating,
    /// In this stage.
    InStage(&'static str),
}

/// How long faults last.
#[derive(Args, Clone, Copy, Debug)]
pub struct Durations {
    /// For how many seconds the API server is stopped
    #[arg(long, default_value_t = 300)]
    pub outage: u64,
    /// For how many seconds one verb is forbidden
    #[arg(long, default_value_t = 10)]
    pub forbidden: u64,
    /// For how many seconds every other fault lasts that does not pass at once
    #[arg(long, default_value_t = 40)]
    pub others: u64,
}

/// Every fault; those of rights by the rights that there are.
pub fn all(rights: Vec<Right>) -> Vec<Fault> {
    let moments = [
        Moment::Asked,
        Moment::OfAuthority("TrustPublished"),
        Moment::OfAuthority("LeafSwitched"),
        Moment::OfPassword("Accepting"),
        Moment::OfPassword("ClientSwitched"),
    ];
    let mut all = vec![
        Fault::ApiServerStopped,
        Fault::ApiServerGoneSilently,
        Fault::EtcdRestarted,
        Fault::DiskFull,
        Fault::WatchesExpired,
        Fault::TooManyRequests,
        Fault::Latency,
        Fault::WrongClock(Wrong::Ahead),
        Fault::WrongClock(Wrong::Behind),
    ];
    all.extend(moments.map(Fault::Killed));
    all.extend(rights.into_iter().map(Fault::Forbidden));
    all
}

impl Fault {
    /// What is rotated while it lasts.
    pub fn subjects(&self) -> &'static str {
        match self {
            Self::Killed(Moment::OfAuthority(_)) => "ca",
            Self::Killed(Moment::OfPassword(_)) => "password",
            _ => "ca,password",
        }
    }

    /// Where the operator runs when it begins.
    pub fn place(&self) -> Place {
        match self {
            Self::ApiServerGoneSilently
            | Self::WatchesExpired
            | Self::TooManyRequests
            | Self::Latency => Place::BehindTheGate,
            _ => Place::Pod,
        }
    }

    /// When it begins.
    pub fn begins(&self) -> Begin {
        match self {
            // What is confirmed by the wrong clock is what may last an hour.
            Self::WrongClock(_) => Begin::BeforeTheRequest,
            Self::Killed(Moment::Asked) => Begin::WithTheRequest,
            Self::Killed(Moment::OfAuthority(stage) | Moment::OfPassword(stage)) => {
                Begin::InStage(stage)
            }
            _ => Begin::WhenRotating,
        }
    }

    /// How long it lasts after it has begun.
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
            Self::ApiServerGoneSilently => {
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
            Self::Killed(Moment::Asked) => formatter.write_str("operator killed at the request"),
            Self::Killed(Moment::OfAuthority(stage)) => {
                write!(formatter, "operator killed in {stage} of the CA")
            }
            Self::Killed(Moment::OfPassword(stage)) => {
                write!(formatter, "operator killed in {stage} of the password")
            }
            Self::WrongClock(Wrong::Ahead) => {
                formatter.write_str("operator started with a clock an hour ahead")
            }
            Self::WrongClock(Wrong::Behind) => {
                formatter.write_str("operator started with a clock an hour behind")
            }
        }
    }
}
