//! The kernel's list of mounts, as `/proc/PID/mountinfo` prints it.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use rustix::io::Errno;

use crate::collect::skipped::Skipped;
use crate::sources::{Answer, fields, lines};

/// One mount, with the values of its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub device: Vec<u8>,
    /// As seen by the host, without the prefix under which this process sees the host.
    pub mount_point: Vec<u8>,
    pub fs_type: Vec<u8>,
    /// Major and minor numbers of the device, and of those below it in the same place whose other labels are the same.
    pub device_numbers: Vec<(String, String)>,
    pub read_only: bool,
}

impl Mount {
    /// The key of its series: the labels, in their sort order.
    pub(super) fn key(&self) -> (&[u8], &[u8], &[u8]) {
        (&self.device, &self.fs_type, &self.mount_point)
    }

    /// The path for this process. `None` only for a path with a NUL, which the kernel never prints.
    pub(super) fn path_below(&self, rootfs: &[u8]) -> Option<Arc<CStr>> {
        CString::new([rootfs, &self.mount_point].concat())
            .ok()
            .map(Arc::from)
    }
}

/// Parses the list. `rootfs` is removed from the beginning of each mount point.
pub(super) fn parse(bytes: &[u8], rootfs: &[u8], skipped: &mut Skipped) -> Vec<Mount> {
    lines(bytes)
        .filter_map(|line| skipped.line("mountinfo", line, parse_line(line, rootfs)))
        .collect()
}

/// `ID PARENT MAJOR:MINOR ROOT MOUNT-POINT OPTIONS [TAG]... - TYPE SOURCE SUPER-OPTIONS`
fn parse_line(line: &[u8], rootfs: &[u8]) -> Option<Mount> {
    let mut parts = fields(line);
    let device_number = std::str::from_utf8(parts.nth(2)?).ok()?;
    let (major, minor) = device_number.split_once(':')?;
    let mount_point = unescape(parts.nth(1)?);
    let options = parts.next()?;
    parts.find(|part| *part == b"-")?;
    let fs_type = parts.next()?.to_vec();
    // A source may be empty; there is then one field less.
    let (device, super_options) = match (parts.next()?, parts.next()) {
        (device, Some(options)) => (device, options),
        (options, None) => (b"".as_slice(), options),
    };
    let read_only = has_option(options, b"ro")
        || has_option(super_options, b"ro")
        || has_option(super_options, b"emergency_ro");
    Some(Mount {
        device: device.to_vec(),
        mount_point: strip_rootfs(mount_point, rootfs),
        fs_type,
        device_numbers: vec![(number(major)?, number(minor)?)],
        read_only,
    })
}

fn number(text: &str) -> Option<String> {
    Some(text.parse::<u32>().ok()?.to_string())
}

fn has_option(options: &[u8], wanted: &[u8]) -> bool {
    options
        .split(|&byte| byte == b',')
        .any(|option| option == wanted)
}

fn strip_rootfs(mount_point: Vec<u8>, rootfs: &[u8]) -> Vec<u8> {
    match mount_point.strip_prefix(rootfs) {
        Some([]) => b"/".to_vec(),
        Some(rest @ [b'/', ..]) => rest.to_vec(),
        // Not below the host's root: `/host/rootfoo` beside `/host/root`.
        Some(_) | None => mount_point,
    }
}

/// The kernel prints blanks, line breaks and backslashes of a path as `\` and three octal digits.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        match text {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                text = rest;
            }
            _ => {
                plain.push(*first);
                text = rest;
            }
        }
    }
    plain
}

/// The text of the `device_error` label. These are node_exporter's texts, which do not depend on the C library.
pub(super) fn error_text(answer: &Answer) -> &'static str {
    let errno = match answer {
        Answer::Size(_) => return "",
        Answer::Stuck => return "mountpoint timeout",
        Answer::Refused(errno) => *errno,
    };
    match errno {
        Errno::PERM => "operation not permitted",
        Errno::NOENT => "no such file or directory",
        Errno::INTR => "interrupted system call",
        Errno::IO => "input/output error",
        Errno::NXIO => "no such device or address",
        Errno::NOMEM => "cannot allocate memory",
        Errno::ACCESS => "permission denied",
        Errno::NODEV => "no such device",
        Errno::NOTDIR => "not a directory",
        Errno::NAMETOOLONG => "file name too long",
        Errno::NOSYS => "function not implemented",
        Errno::LOOP => "too many levels of symbolic links",
        Errno::OVERFLOW => "value too large for defined data type",
        Errno::NOTCONN => "transport endpoint is not connected",
        Errno::SHUTDOWN => "cannot send after transport endpoint shutdown",
        Errno::TIMEDOUT => "connection timed out",
        Errno::CONNREFUSED => "connection refused",
        Errno::HOSTDOWN => "host is down",
        Errno::HOSTUNREACH => "no route to host",
        Errno::STALE => "stale file handle",
        Errno::REMOTEIO => "remote I/O error",
        Errno::CONNABORTED => "software caused connection abort",
        _ => "unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::CollectError;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8], rootfs: &[u8]) -> Result<Vec<Mount>, CollectError> {
        whole(|skipped| crate::collectors::filesystem::mounts::parse(bytes, rootfs, skipped))
    }

    fn one(line: &str, rootfs: &str) -> Mount {
        parse(line.as_bytes(), rootfs.as_bytes())
            .unwrap()
            .pop()
            .unwrap()
    }

    #[test]
    fn a_line_of_the_kernel() {
        let mount = one(
            "36 35 98:0 /mnt1 /mnt\\0402\\011x rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n",
            "",
        );
        let expected = Mount {
            device: b"/dev/root".to_vec(),
            mount_point: b"/mnt 2\tx".to_vec(),
            fs_type: b"ext3".to_vec(),
            device_numbers: vec![("98".into(), "0".into())],
            read_only: false,
        };
        assert_eq!(mount, expected);
    }

    #[test]
    fn read_only_may_stand_in_three_places() {
        let read_only = |options: &str, supers: &str| {
            one(&format!("1 0 8:1 / /a {options} - ext4 d {supers}"), "").read_only
        };
        assert!(read_only("ro,nosuid", "rw"));
        assert!(read_only("rw", "rw,ro"));
        assert!(read_only("rw", "rw,emergency_ro"));
        assert!(!read_only("rw,errors=ro", "rw,remount-ro"));
    }

    #[test]
    fn the_hosts_root_is_taken_off() {
        let mount_point = |path: &str| {
            String::from_utf8(
                one(&format!("1 0 8:1 / {path} rw - ext4 d rw"), "/host/root").mount_point,
            )
            .unwrap()
        };
        assert_eq!(mount_point("/host/root"), "/");
        assert_eq!(mount_point("/host/root/var"), "/var");
        assert_eq!(mount_point("/host/rootfoo"), "/host/rootfoo");
        assert_eq!(mount_point("/boot"), "/boot");
    }

    #[test]
    fn an_empty_source_and_broken_lines() {
        assert_eq!(one("1 0 0:5 / /a rw - tmpfs  rw", "").device, b"");
        for broken in [
            "x",
            "1 0 8:1 / /a rw",
            "1 0 8-1 / /a rw - ext4 d rw",
            "1 0 8:x / /a rw - ext4 d rw",
        ] {
            assert!(
                parse(
                    format!("{broken}\n1 0 8:1 / /a rw - ext4 d rw\n").as_bytes(),
                    b""
                )
                .is_err(),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stays() {
        assert_eq!(unescape(b"a\\134b\\9\\"), b"a\\b\\9\\");
    }
}
