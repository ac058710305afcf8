//! One drill: during a rotation a fault begins, lasts and ends, and the operator must work again soon afterwards.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::kubectl::Kubectl;

use super::{
    consistency::ConsistencyCheck,
    environment::Environment,
    fault::{Begin, Durations, Fault},
    snapshot::Snapshot,
    symptoms::{Observer, Symptoms},
};
use crate::nodes::{count::Clock, generations::Generations};

/// How soon after the end of a fault the operator must have carried out a request.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How long to wait for it at most, so that a late recovery is measured, too.
const MAX_RECOVERY: Duration = Duration::from_secs(240);
/// How long the rotation may take to end after the fault.
const MAX_ROTATION: Duration = Duration::from_secs(240);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The outcome of a drill.
pub struct Outcome {
    fault: Fault,
    /// How long the fault lasted, in seconds.
    lasted: f64,
    /// Seconds from the end of the fault until a certificate that was requested then was published.
    pub recovery: Option<f64>,
    /// Seconds from the end of the fault until the rotation ended.
    rotation: Option<f64>,
    symptoms: Symptoms,
    scrapes: u64,
    failed: u64,
    /// Everything that went wrong.
    problems: Vec<String>,
}

impl Outcome {
    /// Whether the operator worked again in time, and nothing was lost or generated twice.
    pub fn is_good(&self) -> bool {
        let soon = |seconds: f64| seconds <= LIMIT.as_secs_f64();
        self.recovery.is_some_and(soon) && self.problems.is_empty()
    }

    /// Prints the outcome for a person.
    pub fn print(&self) {
        let seconds =
            |time: Option<f64>| time.map_or("never".to_owned(), |it| format!("{it:.1} s"));
        println!(
            "{} {}, for {:.0} s",
            if self.is_good() { "✓" } else { "✗" },
            self.fault,
            self.lasted
        );
        println!(
            "    recovered after: {}; rotation ended after: {}; scrapes: {}, failed: {}",
            seconds(self.recovery),
            seconds(self.rotation),
            self.scrapes,
            self.failed
        );
        for (kind, lines) in self.symptoms.parts() {
            for line in lines {
                println!("    {kind}: {line}");
            }
        }
        if self.symptoms.is_empty() {
            println!("    no symptom could be seen");
        }
        for problem in &self.problems {
            println!("    WRONG: {problem}");
        }
    }

    /// Returns the outcome for the JSON file.
    pub fn to_json(&self) -> Value {
        json!({
            "fault": self.fault.to_string(),
            "seconds": self.lasted,
            "recovery_seconds": self.recovery,
            "rotation_seconds": self.rotation,
            "scrapes": self.scrapes,
            "failed_scrapes": self.failed,
            "symptoms": self.symptoms.to_json(),
            "problems": self.problems,
        })
    }
}

/// Runs the drill of one fault.
///
/// # Errors
/// The operator did not settle before, or the fault could not be started or ended.
pub fn drill(
    environment: &mut Environment,
    fault: &Fault,
    durations: &Durations,
) -> Result<Outcome> {
    environment.settle(fault)?;
    let clock = Clock::start();
    let mut consistency = ConsistencyCheck::start(&environment.kubectl)?;
    let mut observer = Observer::start(&environment.kubectl, &environment.operators)?;
    let requests_hit = environment.requests_hit(fault);

    let begun = begin(environment, fault);
    let beginning = Instant::now();
    if begun.is_ok() {
        environment.wait_with_fault(fault.lasts(durations), |kubectl| {
            if let Ok(snapshot) = Snapshot::take(kubectl) {
                consistency.record(&snapshot);
            }
        });
        if fault.lasts(durations) > Duration::ZERO {
            observer.observe_fault(&environment.kubectl, &environment.operators);
        }
    }
    // A fault of which only a part began must be ended, too.
    let lasted = beginning.elapsed().as_secs_f64();
    environment
        .end(fault)
        .with_context(|| format!("cannot end the fault: {fault}"))?;
    begun.with_context(|| format!("cannot start the fault: {fault}"))?;

    let after = after(environment, fault, &mut consistency)?;
    let mut problems = after.problems;
    if requests_hit.is_some() && environment.requests_hit(fault) == requests_hit {
        problems.push("the fault affected no request".to_owned());
    }
    problems.extend(consistency.finish(
        &environment.kubectl,
        fault.subjects(),
        &environment.prometheus,
        &clock,
    )?);
    let count = environment.prometheus.count(&clock)?;
    Ok(Outcome {
        fault: fault.clone(),
        lasted,
        recovery: after.recovery,
        rotation: after.rotation,
        symptoms: observer.finish(&environment.kubectl, &environment.operators)?,
        scrapes: count.scrapes,
        failed: count.failed(),
        problems,
    })
}

fn begin(environment: &mut Environment, fault: &Fault) -> Result<()> {
    let subjects = fault.subjects();
    match fault.begins() {
        Begin::BeforeRequest => {
            environment.begin(fault)?;
            environment.request_rotation(subjects)
        }
        Begin::WithRequest => {
            environment.request_rotation(subjects)?;
            environment.begin(fault)
        }
        Begin::WhenRotating => {
            environment.request_rotation(subjects)?;
            environment.wait_for_stage(None)?;
            environment.begin(fault)
        }
        Begin::InStage(stage) => {
            environment.request_rotation(subjects)?;
            environment.wait_for_stage(Some(stage))?;
            environment.begin(fault)
        }
    }
}

/// What happened after the end of a fault.
struct After {
    recovery: Option<f64>,
    rotation: Option<f64>,
    problems: Vec<String>,
}

/// Requests a certificate, which is issued at once, and waits for it and for the end of the rotation.
fn after(
    environment: &mut Environment,
    fault: &Fault,
    consistency: &mut ConsistencyCheck,
) -> Result<After> {
    let end = Instant::now();
    let mut problems = Vec::new();
    let mut look = |kubectl: &Kubectl| {
        let snapshot = Snapshot::take(kubectl)?;
        consistency.record(&snapshot);
        let now = Generations::of(&snapshot.status)?;
        anyhow::Ok((snapshot, now, consistency.before().clone()))
    };
    // The operator must have seen the previous request first, because the next one replaces it.
    let waits_for_request = matches!(fault.begins(), Begin::WithRequest);
    let serial_before = retry_until(MAX_RECOVERY, || {
        let (snapshot, now, before) = look(&environment.kubectl)?;
        let begun = snapshot.stages().is_some() || now.moved(&before, fault.subjects());
        ensure!(begun || !waits_for_request, "the rotation has not begun");
        Ok(now.serial)
    });
    let recovery = match serial_before {
        Ok(serial) => {
            let asked = retry_until(LIMIT, || environment.request_rotation("certificate"));
            let published = asked.and_then(|()| {
                retry_until(MAX_RECOVERY, || {
                    let (snapshot, now, _) = look(&environment.kubectl)?;
                    ensure!(now.serial != serial, "the certificate is still the same");
                    ensure!(
                        snapshot.is_ready(),
                        "not ready: {}",
                        snapshot.status["conditions"]
                    );
                    Ok(())
                })
            });
            published.map(|()| end.elapsed().as_secs_f64())
        }
        Err(error) => Err(error),
    };
    let rotation = retry_until(MAX_ROTATION, || {
        let (snapshot, now, before) = look(&environment.kubectl)?;
        ensure!(
            snapshot.stages().is_none() && now.moved(&before, fault.subjects()),
            "the rotation is not over: {}; {}",
            snapshot.status["rotation"],
            snapshot.status["conditions"]
        );
        Ok(end.elapsed().as_secs_f64())
    });
    let mut seconds = |outcome: Result<f64>| match outcome {
        Ok(seconds) => Some(seconds),
        Err(error) => {
            problems.push(format!("{error:#}"));
            None
        }
    };
    let (recovery, rotation) = (seconds(recovery), seconds(rotation));
    Ok(After {
        recovery,
        rotation,
        problems,
    })
}

/// Tries until it succeeds or the time is over.
fn retry_until<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        let outcome = attempt();
        if outcome.is_ok() || begin.elapsed() > limit {
            return outcome.with_context(|| format!("after {} s", limit.as_secs()));
        }
        thread::sleep(POLL_INTERVAL);
    }
}
