//! One drill: during a rotation a fault begins, lasts and ends, and the operator must work again soon afterwards.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

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

    let after = after(environment, fault, &mut consistency);
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
) -> After {
    let mut waiting = Waiting {
        environment,
        fault,
        consistency,
        end: Instant::now(),
    };
    let outcomes = [waiting.for_certificate(), waiting.for_rotation()];
    let mut problems = Vec::new();
    let [recovery, rotation] = outcomes.map(|outcome| {
        let problem = |error| problems.push(format!("{error:#}"));
        outcome.map_err(problem).ok()
    });
    After {
        recovery,
        rotation,
        problems,
    }
}

/// Waits after the end of a fault, and keeps checking the consistency. The results are seconds since the end.
struct Waiting<'a> {
    environment: &'a mut Environment,
    fault: &'a Fault,
    consistency: &'a mut ConsistencyCheck,
    end: Instant,
}

impl Waiting<'_> {
    /// Requests a certificate, and waits until it is published and the resource is ready.
    fn for_certificate(&mut self) -> Result<f64> {
        // The operator must have seen the previous request first, because the next one replaces it.
        let waits_for_request = matches!(self.fault.begins(), Begin::WithRequest);
        let serial = retry_until(MAX_RECOVERY, || {
            let (snapshot, now) = self.look()?;
            let begun = snapshot.stages().is_some() || self.has_rotated(&now);
            ensure!(begun || !waits_for_request, "the rotation has not begun");
            Ok(now.serial)
        })?;
        retry_until(LIMIT, || self.environment.request_rotation("certificate"))?;
        retry_until(MAX_RECOVERY, || {
            let (snapshot, now) = self.look()?;
            ensure!(now.serial != serial, "the certificate is still the same");
            ensure!(
                snapshot.is_ready(),
                "not ready: {}",
                snapshot.status["conditions"]
            );
            Ok(self.end.elapsed().as_secs_f64())
        })
    }

    /// Waits for the end of the rotation.
    fn for_rotation(&mut self) -> Result<f64> {
        retry_until(MAX_ROTATION, || {
            let (snapshot, now) = self.look()?;
            ensure!(
                snapshot.stages().is_none() && self.has_rotated(&now),
                "the rotation is not over: {}; {}",
                snapshot.status["rotation"],
                snapshot.status["conditions"]
            );
            Ok(self.end.elapsed().as_secs_f64())
        })
    }

    fn look(&mut self) -> Result<(Snapshot, Generations)> {
        let snapshot = Snapshot::take(&self.environment.kubectl)?;
        self.consistency.record(&snapshot);
        let now = Generations::of(&snapshot.status)?;
        Ok((snapshot, now))
    }

    fn has_rotated(&self, now: &Generations) -> bool {
        now.moved(self.consistency.before(), self.fault.subjects())
    }
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
