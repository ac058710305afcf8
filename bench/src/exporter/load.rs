//! Scrapers of several kinds, and an unauthenticated client.

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

/// A changed password must take effect within this time.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// How a scraper connects.
#[derive(Clone, Copy)]
pub enum Connections {
    /// Over one connection for all scrapes.
    Kept {
        /// The same, with compression.
        gzip: bool,
    },
    /// Over a new connection for each scrape, whose handshake is part of the measurement.
    Fresh,
}

/// Scrapes in sequence, and returns the duration of each scrape.
///
/// # Errors
/// A scrape failed.
pub fn scrape(target: &Target, scrapes: usize, connections: Connections) -> Result<Vec<Duration>> {
    paced(target, scrapes, connections, Duration::ZERO)
}

/// Like [`scrape`], with a pause before each scrape.
///
/// # Errors
/// A scrape failed.
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

/// Runs this many scrapers without pauses, and returns the number of their scrapes.
///
/// # Errors
/// A scrape failed.
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

/// Makes one scrape.
///
/// # Errors
/// The scrape failed, or the response is not compressed as requested.
pub fn good(connection: &mut Connection, gzip: bool) -> Result<()> {
    let answer = connection.get(gzip)?;
    ensure!(answer.status == 200, "a scrape got HTTP {}", answer.status);
    ensure!(
        answer.body.starts_with(&[0x1f, 0x8b]) == gzip,
        "the response is not compressed as requested"
    );
    Ok(())
}

/// Scrapes until the password is refused, which must happen soon after the password was changed.
///
/// # Errors
/// The password still works after half a minute.
pub fn until_refused(target: &Target) -> Result<()> {
    wait_until("the old password to be refused", FORGOTTEN, || {
        let status = target.connect()?.get(false)?.status;
        Ok((status != 200).then_some(()))
    })
}

/// An unauthenticated client that tries one password after another, each of them once, so that caching does not help.
pub struct PasswordGuesser {
    began: Instant,
    stop: Arc<AtomicBool>,
    work: JoinHandle<Result<u64>>,
}

impl PasswordGuesser {
    /// Starts the client and returns when it has been refused for the first time.
    ///
    /// # Errors
    /// A wrong password was accepted, or nothing listens there.
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

    /// Stops the client and returns how many passwords it tried per second.
    ///
    /// # Errors
    /// A wrong password was accepted.
    pub fn stop(self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let tries = self
            .work
            .join()
            .map_err(|_| anyhow!("the password guesser panicked"))??;
        Ok(tries as f64 / self.began.elapsed().as_secs_f64())
    }
}

/// Tries a new password, and returns the connection if the exporter leaves it open.
///
/// # Errors
/// A wrong password was accepted, or nothing listens there.
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
    ensure!(answer.status != 200, "a wrong password was accepted");
    Ok((!answer.last).then_some(connection))
}
