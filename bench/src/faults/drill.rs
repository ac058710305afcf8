//! One drill: a rotation is on its way, the fault begins, lasts and ends, and the operator must be at work again.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::kubectl::Kubectl;

use super::{
    fault::{Begin, Durations, Fault},
    ledger::Ledger,
    scene::Scene,
    sight::Sight,
    witness::{Told, Witness},
};
use crate::nodes::{count::Clock, generations::Generations};

/// How soon after the end of a fault the operator must have done something that was asked for.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How long it is waited for, so that a late one has a figure too.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long the rotation may take to its end after the fault.
const ROTATION: Duration = Duration::from_secs(240);
const GLANCE: Duration = Duration::from_millis(250);

/// What came of it.
pub struct Outcome {
    fault: Fault,
    /// For how long it lasted, in seconds.
    lasted: f64,
    /// Until a certificate that was asked for at the end of the fault was published, in seconds.
    pub recovery: Option<f64>,
    /// Until the rotation was over, in seconds.
    rotation: Option<f64>,
    told: Told,
    scrapes: u64,
    failed: u64,
    /// Everything that should not be.
    problems: Vec<String>,
}

impl Outcome {
    /// Whether the operator was at work again in time, and nothing was lost or made twice.
    pub fn is_good(&self) -> bool {
        let soon = |seconds: f64| seconds <= LIMIT.as_secs_f64();
        self.recovery.is_some_and(soon) && self.problems.is_empty()
    }

    /// A line each for a person.
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
            "    recovered: {}; the rotation was over: {}; scrapes: {}, failed: {}",
            seconds(self.recovery),
            seconds(self.rotation),
            self.scrapes,
            self.failed
        );
        for (kind, lines) in self.told.parts() {
            for line in lines {
                println!("    {kind}: {line}");
            }
        }
        if self.told.is_silent() {
            println!("    nothing was to be seen of it");
        }
        for problem in &self.problems {
            println!("    WRONG: {problem}");
        }
    }

    /// For the file of figures.
    pub fn to_json(&self) -> Value {
        json!({
            "fault": self.fault.to_string(),
            "seconds": self.lasted,
            "recovery_seconds": self.recovery,
            "rotation_seconds": self.rotation,
            "scrapes": self.scrapes,
            "failed_scrapes": self.failed,
            "told": self.told.to_json(),
            "problems": self.problems,
        })
    }
}

/// Carries it out.
///
/// # Errors
/// The scene was not at rest before, or the fault could not be brought about or ended.
pub fn drill(scene: &mut Scene, fault: &Fault, durations: &Durations) -> Result<Outcome> {
    scene.rest(fault)?;
    let clock = Clock::start();
    let mut ledger = Ledger::open(&scene.kubectl)?;
    let mut witness = Witness::begin(&scene.kubectl, &scene.operators)?;
    let struck = scene.struck(fault);

    let begun = begin(scene, fault);
    let beginning = Instant::now();
    if begun.is_ok() {
        scene.hold(fault.lasts(durations), |kubectl| {
            if let Ok(sight) = Sight::take(kubectl) {
                ledger.note(&sight);
            }
        });
        if fault.lasts(durations) > Duration::ZERO {
            witness.look(&scene.kubectl, &scene.operators);
        }
    }
    // Also one that began by half must end.
    let lasted = beginning.elapsed().as_secs_f64();
    scene
        .end(fault)
        .with_context(|| format!("the end of: {fault}"))?;
    begun.with_context(|| format!("the beginning of: {fault}"))?;

    let after = after(scene, fault, &mut ledger)?;
    let mut problems = after.problems;
    if struck.is_some() && scene.struck(fault) == struck {
        problems.push("the fault met no request".to_owned());
    }
    problems.extend(ledger.close(&scene.kubectl, fault.subjects(), &scene.prometheus, &clock)?);
    let count = scene.prometheus.count(&clock)?;
    Ok(Outcome {
        fault: fault.clone(),
        lasted,
        recovery: after.recovery,
        rotation: after.rotation,
        told: witness.tell(&scene.kubectl, &scene.operators)?,
        scrapes: count.scrapes,
        failed: count.failed(),
        problems,
    })
}

fn begin(scene: &mut Scene, fault: &Fault) -> Result<()> {
    let subjects = fault.subjects();
    match fault.begins() {
        Begin::BeforeTheRequest => {
            scene.begin(fault)?;
            scene.ask(subjects)
        }
        Begin::WithTheRequest => {
            scene.ask(subjects)?;
            scene.begin(fault)
        }
        Begin::WhenRotating => {
            scene.ask(subjects)?;
            scene.wait_for_stage(None)?;
            scene.begin(fault)
        }
        Begin::InStage(stage) => {
            scene.ask(subjects)?;
            scene.wait_for_stage(Some(stage))?;
            scene.begin(fault)
        }
    }
}

/// What happened after the end of a fault.
struct After {
    recovery: Option<f64>,
    rotation: Option<f64>,
    problems: Vec<String>,
}

/// Asks for a certificate, which waits for nothing, and waits for it, and for the end of the rotation.
fn after(scene: &mut Scene, fault: &Fault, ledger: &mut Ledger) -> Result<After> {
    let end = Instant::now();
    let mut problems = Vec::new();
    let mut look = |kubectl: &Kubectl| {
        let sight = Sight::take(kubectl)?;
        ledger.note(&sight);
        let now = Generations::of(&sight.status)?;
        anyhow::Ok((sight, now, ledger.before().clone()))
    };
    // What was asked for just before must be known first: the next request takes its place.
    let waits_for_request = matches!(fault.begins(), Begin::WithTheRequest);
    let known = waiting(PATIENCE, || {
        let (sight, now, before) = look(&scene.kubectl)?;
        let begun = sight.stages().is_some() || now.moved(&before, fault.subjects());
        ensure!(begun || !waits_for_request, "the rotation has not begun");
        Ok(now.serial)
    });
    let recovery = match known {
        Ok(serial) => {
            let asked = waiting(LIMIT, || scene.ask("certificate"));
            let published = asked.and_then(|()| {
                waiting(PATIENCE, || {
                    let (sight, now, _) = look(&scene.kubectl)?;
                    ensure!(now.serial != serial, "the certificate is still the same");
                    ensure!(
                        sight.is_ready(),
                        "not ready: {}",
                        sight.status["conditions"]
                    );
                    Ok(())
                })
            });
            published.map(|()| end.elapsed().as_secs_f64())
        }
        Err(error) => Err(error),
    };
    let rotation = waiting(ROTATION, || {
        let (sight, now, before) = look(&scene.kubectl)?;
        ensure!(
            sight.stages().is_none() && now.moved(&before, fault.subjects()),
            "the rotation is at {}; {}",
            sight.status["rotation"],
            sight.status["conditions"]
        );
        Ok(end.elapsed().as_secs_f64())
    });
    let mut told = |outcome: Result<f64>| match outcome {
        Ok(seconds) => Some(seconds),
        Err(error) => {
            problems.push(format!("{error:#}"));
            None
        }
    };
    let (recovery, rotation) = (told(recovery), told(rotation));
    Ok(After {
        recovery,
        rotation,
        problems,
    })
}

/// Tries until it succeeds, or the time is over.
fn waiting<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        let outcome = attempt();
        if outcome.is_ok() || begin.elapsed() > limit {
            return outcome.with_context(|| format!("after {} s", limit.as_secs()));
        }
        thread::sleep(GLANCE);
    }
}
