//! What may befall the way between an operator and the API server.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How requests fare on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// They pass.
    #[default]
    Clear,
    /// Each is so long on its way.
    Slow(Duration),
    /// Each is answered 429, with a second to wait. What is being answered already goes on, as a watch does.
    TooMany,
    /// Nothing arrives and no connection ends, as behind a cable that was pulled: neither those that there were nor those that
    /// are made meanwhile, and also not later, when there is other weather for new ones.
    BlackHole,
    /// Every connection ends, and new ones at once.
    Cut,
}

/// The weather of a gate, and what it did.
#[derive(Default)]
pub struct Sky {
    now: Mutex<Now>,
    touched: AtomicU64,
    expired: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Now {
    weather: Weather,
    /// How many black holes there were.
    holes: u64,
    /// How often everything was cut.
    cuts: u64,
    /// The gate is gone.
    over: bool,
}

/// When a connection was made.
#[derive(Clone, Copy)]
pub struct Since {
    holes: u64,
    cuts: u64,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Open,
    /// It is held, and nothing passes.
    Swallowed,
    /// It ends.
    Ended,
}

impl Sky {
    /// Changes the weather.
    pub fn change(&self, weather: Weather) {
        let mut now = self.lock();
        now.weather = weather;
        now.holes += u64::from(weather == Weather::BlackHole);
        now.cuts += u64::from(weather == Weather::Cut);
    }

    /// Ends everything, also what is held.
    pub fn end(&self) {
        self.lock().over = true;
    }

    /// The weather for a request that comes now, and since when its connection is there.
    pub fn meets(&self) -> (Weather, Since) {
        let now = *self.lock();
        if now.weather != Weather::Clear {
            self.touched.fetch_add(1, Ordering::SeqCst);
        }
        // What comes while there is a hole is lost in it, as what was there before.
        let inside = u64::from(now.weather == Weather::BlackHole);
        let (holes, cuts) = (now.holes - inside, now.cuts);
        (now.weather, Since { holes, cuts })
    }

    /// What becomes of a connection that has been there for some time.
    pub fn fate(&self, since: Since) -> Fate {
        let now = *self.lock();
        if now.over || now.cuts != since.cuts || now.weather == Weather::Cut {
            Fate::Ended
        } else if now.holes != since.holes {
            Fate::Swallowed
        } else {
            Fate::Open
        }
    }

    /// How many requests have met other weather than a clear sky.
    pub fn touched(&self) -> u64 {
        self.touched.load(Ordering::SeqCst)
    }

    /// Looks at a part of an answer: does the API server say that the version from which to watch is too old?
    pub fn look_for_expiry(&self, part: &[u8]) {
        let sign = br#""code":410"#;
        if part.windows(sign.len()).any(|bytes| bytes == sign) {
            self.expired.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How often it did.
    pub fn expired(&self) -> u64 {
        self.expired.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_black_hole_swallowed_never_comes_back() {
        let sky = Sky::default();
        let (_, before) = sky.meets();
        sky.change(Weather::BlackHole);
        let (_, meanwhile) = sky.meets();
        sky.change(Weather::Clear);
        let (_, after) = sky.meets();
        assert_eq!(sky.fate(before), Fate::Swallowed);
        assert_eq!(sky.fate(meanwhile), Fate::Swallowed);
        assert_eq!(sky.fate(after), Fate::Open);
        assert_eq!(sky.touched(), 1);
        sky.end();
        assert_eq!(sky.fate(before), Fate::Ended);
    }

    #[test]
    fn a_cut_ends_what_was_there_and_nothing_later() {
        let sky = Sky::default();
        let (_, before) = sky.meets();
        sky.change(Weather::Cut);
        sky.change(Weather::Clear);
        let (_, after) = sky.meets();
        assert_eq!(sky.fate(before), Fate::Ended);
        assert_eq!(sky.fate(after), Fate::Open);
    }

    #[test]
    fn an_expired_version_is_noticed() {
        let sky = Sky::default();
        sky.look_for_expiry(br#"{"kind":"Status","code":409}"#);
        assert_eq!(sky.expired(), 0);
        sky.look_for_expiry(br#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#);
        assert_eq!(sky.expired(), 1);
    }
}
