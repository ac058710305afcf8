//! The system call itself: all of it that the compiler cannot check.

use std::ffi::c_long;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// `PERF_FLAG_FD_CLOEXEC`
const CLOSE_ON_EXEC: c_long = 1 << 3;
/// Neither a process nor a group of counters: whatever runs on the CPU.
const NONE: c_long = -1;

/// `struct perf_event_attr` in the length of its first version, which every kernel takes. Without a period nothing is sampled,
/// so the kernel writes to no memory of this process.
#[repr(C)]
pub(crate) struct Attributes {
    pub(crate) kind: u32,
    pub(crate) size: u32,
    pub(crate) config: u64,
    pub(crate) sample_period: u64,
    pub(crate) sample_type: u64,
    pub(crate) read_format: u64,
    pub(crate) flags: u64,
    pub(crate) wakeup_events: u32,
    pub(crate) breakpoint_type: u32,
    pub(crate) breakpoint_address: u64,
}

/// Opens a counter of one CPU.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn open(attributes: &mut Attributes, cpu: u16) -> io::Result<OwnedFd> {
    attributes.size = size_of::<Attributes>() as u32;
    // SAFETY: the kernel reads as many bytes as `size` says, which is all of the structure, and writes at most that field. It
    // is borrowed alone during the call. The other arguments are numbers.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            ptr::from_mut(attributes),
            NONE,
            c_long::from(cpu),
            NONE,
            CLOSE_ON_EXEC,
        )
    };
    match RawFd::try_from(answer) {
        // SAFETY: the kernel has just opened this descriptor, and nobody else has its number.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_is_as_long_as_the_kernels_first() {
        // `PERF_ATTR_SIZE_VER0`
        assert_eq!(size_of::<Attributes>(), 64);
    }
}
