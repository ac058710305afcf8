//! Scrapers of several kinds, and a stranger.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};

use super::client::{Connection, Target};
use testbed::wait::wait_until;

/// Within this time a changed password should be taken up.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// How a scraper connects.
#[derive(Clone, Copy)]
pub enum Connections {
    /// One, on which all scrapes run.
    Kept {
        /// Compressed.
        gzip: bool,
    },
    /// One for each scrape, whose handshake is part of what is measured.
    Fresh,
}

/// Scrapes that follow each other, and how long each took.
///
/// # Errors
/// One failed.
pub fn scrape(target: &Target, scrapes: usize, connections: Connections) -> Result<Vec<Duration>> {
    paced(target, scrapes, connections, Duration::ZERO)
}

/// As [`scrape`], with a pause before each.
///
/// # Errors
/// One failed.
pub fn paced(
    target: &Target,
    scrapes: usize,
    connections: Connections,
    pause: Duration,
) -> Result<Vec<Duration>> {
    let mut kept = match connections {
        Connections::Kept { gzip } => Some((target.connect()?, gzip)),
        Connections::Fresh => None,
    };
    (0..scrapes)
        .map(|_| {
            thread::sleep(pause);
            let began = Instant::now();
            match &mut kept {
                Some((connection, gzip)) => good(connection, *gzip)?,
                None => good(&mut target.connect()?, false)?,
            }
            Ok(began.elapsed())
        })
        .collect()
}

/// As many scrapers as there are, without a pause; returns how many scrapes they made.
///
/// # Errors
/// One failed.
pub fn busy(target: &Target, scrapers: usize, time: Duration) -> Result<usize> {
    let end = Instant::now() + time;
    let scraper = |target: Target| {
        let mut connection = target.connect()?;
        let mut scrapes = 0;
        while Instant::now() < end {
            good(&mut connection, false)?;
            scrapes += 1;
        }
        Ok(scrapes)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..scrapers)
            .map(|_| scope.spawn(|| scraper(target.clone())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a scraper panicked"))?)
            .sum()
    })
}

/// One scrape.
///
/// # Errors
/// It failed, or is not compressed as it was asked for.
pub fn good(connection: &mut Connection, gzip: bool) -> Result<()> {
    let answer = connection.get(gzip)?;
    ensure!(answer.status == 200, "a scrape got HTTP {}", answer.status);
    ensure!(
        answer.body.starts_with(&[0x1f, 0x8b]) == gzip,
        "what came is not compressed as it was asked for"
    );
    Ok(())
}

/// Scrapes until the password is refused, which it should be soon after it was changed.
///
/// # Errors
/// It still works after half a minute.
pub fn until_refused(target: &Target) -> Result<()> {
    wait_until("the old password to be refused", FORGOTTEN, || {
        let status = target.connect()?.get(false)?.status;
        Ok((status != 200).then_some(()))
    })
}

/// Someone who tries one password after the other, each once, so that no memory of what was tried helps.
pub struct Stranger {
    began: Instant,
    stop: Arc<AtomicBool>,
    work: JoinHandle<Result<u64>>,
}

impl Stranger {
    /// Starts it and returns when it has been refused for the first time.
    ///
    /// # Errors
    /// It was let in, or nobody listens.
    pub fn start(target: &Target) -> Result<Self> {
        let target = target.clone();
        let began = Instant::now();
        let mut connection = attempt(&target, None, 0)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let work = thread::spawn(move || {
            let mut tries = 1;
            while !stopped.load(Ordering::Relaxed) {
                connection = attempt(&target, connection, tries)?;
                tries += 1;
            }
            Ok(tries)
        });
        Ok(Self { began, stop, work })
    }

    /// Ends it and returns how often it tried in a second.
    ///
    /// # Errors
    /// It was let in.
    pub fn stop(self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let tries = self
            .work
            .join()
            .map_err(|_| anyhow!("the stranger panicked"))??;
        Ok(tries as f64 / self.began.elapsed().as_secs_f64())
    }
}

/// Tries a password that was not tried before, and returns the connection where the exporter leaves it open.
///
/// # Errors
/// It was let in, or nobody listens.
pub fn attempt(
    target: &Target,
    kept: Option<Connection>,
    number: u64,
) -> Result<Option<Connection>> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => target.connect()?,
    };
    connection.authorize(&format!("guess {number}"));
    let answer = connection.get(false)?;
    ensure!(answer.status != 200, "a wrong password was let in");
    Ok((!answer.last).then_some(connection))
}
