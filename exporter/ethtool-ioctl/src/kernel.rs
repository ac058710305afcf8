//! The request itself and the memory for its answer: all of it that the compiler cannot check.

use std::ffi::c_void;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::slice;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::param::page_size;

/// `SIOCETHTOOL`
const SIOCETHTOOL: Opcode = 0x8946;
/// `IFNAMSIZ`, the NUL included.
const LONGEST_NAME: usize = 16;

/// Memory of whole pages, and behind it one that nobody may touch. The kernel writes as many counters as a driver has at
/// that moment, whatever room the request says there is: what does not fit ends there, with `EFAULT`.
pub(crate) struct Memory {
    start: NonNull<u8>,
    /// What may be touched.
    usable: usize,
    /// All of it.
    mapped: usize,
}

// SAFETY: nothing else has the address, so the memory goes wherever its owner goes.
unsafe impl Send for Memory {}

impl Memory {
    /// Memory of at least so many bytes, all zero. Pages that are never touched cost nothing.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let page = page_size();
        let usable = bytes.next_multiple_of(page);
        let mapped = usable + page;
        // SAFETY: a new mapping at a place of the kernel's choice touches no other memory.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                mapped,
                ProtFlags::empty(),
                MapFlags::PRIVATE,
            )?
        };
        let memory = Self {
            start: NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            usable,
            mapped,
        };
        let both = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: these are the first pages of the mapping, to which nothing refers yet.
        unsafe { mprotect(start, usable, both)? };
        Ok(memory)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped, initialised by the kernel and readable, and live as long as `self`, which is
        // borrowed.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.usable) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; and `self` is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.usable) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it is exactly what was mapped, and every reference to it has ended.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.usable)
    }
}

/// The name of a network device, with NULs behind it.
#[derive(Clone, Copy)]
pub(crate) struct DeviceName([u8; LONGEST_NAME]);

impl DeviceName {
    /// `None` where it cannot be a name.
    pub(crate) fn new(name: &[u8]) -> Option<Self> {
        let fits = (1..LONGEST_NAME).contains(&name.len()) && !name.contains(&0);
        let mut padded = [0; LONGEST_NAME];
        padded.get_mut(..name.len())?.copy_from_slice(name);
        fits.then_some(Self(padded))
    }
}

/// Hands the request in the memory to the device's driver, whose answer takes its place.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn ask(socket: &OwnedFd, device: DeviceName, memory: &mut Memory) -> io::Result<()> {
    let request = Request {
        name: device.0,
        data: memory.start.as_ptr(),
        rest: [0; 16],
    };
    // SAFETY: the memory is borrowed alone during the call. The kernel reads the request from it and writes the answer
    // from its start on, without a gap, so that not even an answer of any length leaves it: behind it lies a page that
    // cannot be written to.
    Ok(unsafe { ioctl(socket, request) }?)
}

/// `struct ifreq`, whose union is as long as a pointer and sixteen bytes at most.
#[repr(C)]
struct Request {
    name: [u8; LONGEST_NAME],
    data: *mut u8,
    rest: [u8; 16],
}

// SAFETY: `SIOCETHTOOL` takes a pointer to a `struct ifreq`, of which this has the layout and at least the length, and
// returns nothing but what it writes through the pointer in it.
unsafe impl Ioctl for Request {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        SIOCETHTOOL
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_ends_with_an_inaccessible_page() {
        let mut memory = Memory::new(1).unwrap();
        assert_eq!(memory.bytes(), vec![0; page_size()]);
        memory.bytes_mut().fill(1);
        let end = memory.start.as_ptr().addr() + memory.usable;
        let guard = format!("{end:x}-");
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.starts_with(&guard)).unwrap();
        assert!(line.contains(" ---p "), "{line}");
    }

    #[test]
    fn names_are_those_that_a_device_can_have() {
        assert_eq!(DeviceName::new(b"eth0").unwrap().0[..5], *b"eth0\0");
        assert!(DeviceName::new(b"fifteen-bytes-x").is_some());
        for name in [&b""[..], b"a\0b", b"sixteen-bytes-xx"] {
            assert!(DeviceName::new(name).is_none());
        }
    }
}
