//! Events that the kernel and the processor count on each CPU, through `perf_event_open(2)`.
//!
//! The numbers and layouts are those of `linux/perf_event.h`. Events are only counted, never sampled, for all processes
//! together. The kernel wants `CAP_PERFMON` for it, or `kernel.perf_event_paranoid` to be 0 or less.
//!
//! The module `kernel` has all that is unsafe; here is only what the numbers mean.

#[allow(unsafe_code)]
mod kernel;

use std::io;
use std::os::fd::OwnedFd;

use kernel::Attributes;

/// `PERF_TYPE_HARDWARE`
const HARDWARE: u32 = 0;
/// `PERF_TYPE_SOFTWARE`
const SOFTWARE: u32 = 1;
/// `PERF_TYPE_TRACEPOINT`
const TRACEPOINT: u32 = 2;
/// `PERF_TYPE_HW_CACHE`
const CACHE: u32 = 3;

/// The bit `exclude_hv`: what a hypervisor does is not counted.
const EXCLUDE_HYPERVISOR: u64 = if cfg!(target_endian = "big") {
    1 << (63 - 6)
} else {
    1 << 6
};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    kind: u32,
    config: u64,
}

impl Event {
    /// An event of the processor, `PERF_COUNT_HW_…`.
    pub const fn hardware(number: u8) -> Self {
        Self::new(HARDWARE, number as u64)
    }

    /// An event of the kernel, `PERF_COUNT_SW_…`.
    pub const fn software(number: u8) -> Self {
        Self::new(SOFTWARE, number as u64)
    }

    /// What comes of an operation on a cache: `PERF_COUNT_HW_CACHE_…`, `…_OP_…`, `…_RESULT_…`.
    pub const fn cache(cache: u8, operation: u8, result: u8) -> Self {
        let config = cache as u64 | (operation as u64) << 8 | (result as u64) << 16;
        Self::new(CACHE, config)
    }

    /// A tracepoint of the kernel, by its number in tracefs.
    pub const fn tracepoint(id: u64) -> Self {
        Self::new(TRACEPOINT, id)
    }

    const fn new(kind: u32, config: u64) -> Self {
        Self { kind, config }
    }
}

/// Counts an event on one CPU from the moment in which it is opened.
#[derive(Debug)]
pub struct Counter(OwnedFd);

impl Counter {
    /// Begins to count.
    ///
    /// # Errors
    ///
    /// The kernel's: it refuses, knows no such event, cannot count it on this machine, or the CPU is offline.
    pub fn open(event: Event, cpu: u16) -> io::Result<Self> {
        let mut attributes = Attributes {
            kind: event.kind,
            size: 0,
            config: event.config,
            sample_period: 0,
            sample_type: 0,
            read_format: 0,
            flags: EXCLUDE_HYPERVISOR,
            wakeup_events: 0,
            breakpoint_type: 0,
            breakpoint_address: 0,
        };
        kernel::open(&mut attributes, cpu).map(Self)
    }

    /// How often the event has occurred.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn read(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        match rustix::io::read(&self.0, &mut bytes)? {
            8 => Ok(u64::from_ne_bytes(bytes)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_as_the_kernel_does() {
        assert_eq!(Event::hardware(9).config, 9);
        // The last level cache, writes, misses.
        let event = Event::cache(2, 1, 1);
        assert_eq!((event.kind, event.config), (3, 0x01_01_02));
        assert_eq!(Event::software(2).kind, 1);
        assert_eq!(Event::tracepoint(312).kind, 2);
    }

    #[test]
    fn page_faults_are_counted_where_it_is_allowed() {
        // `PERF_COUNT_SW_PAGE_FAULTS`
        let faults = Event::software(2);
        match Counter::open(faults, 0) {
            Ok(counter) => {
                let before = counter.read().unwrap();
                assert!(counter.read().unwrap() >= before);
            }
            Err(error) => {
                let refused = [
                    io::ErrorKind::PermissionDenied,
                    // A kernel or a sandbox without the system call.
                    io::ErrorKind::Unsupported,
                ];
                assert!(refused.contains(&error.kind()), "{error}");
            }
        }
        // There is no such event, and no such CPU.
        Counter::open(Event::software(255), 0).unwrap_err();
        Counter::open(faults, u16::MAX).unwrap_err();
    }
}
