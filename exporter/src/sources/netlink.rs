//! Dumps of the kernel's tables over netlink, parsed in place in one buffer.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netdevice::{InlinedName, index_to_name_inlined};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink,
};

use super::deadline::Deadline;

const HEADER: usize = 16;
/// Larger than any reply of the kernel in a dump.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once, or while other processes change the same table; some invalid requests it never answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// The minimum timeout of a socket, because a timeout of zero would wait forever.
const SHORTEST: Duration = Duration::from_millis(1);
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR`
const ERROR: u16 = 2;
/// `NLMSG_DONE`
const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: the table changed while it was dumped.
const INTERRUPTED: u16 = 0x10;
/// `GENL_ID_CTRL`: the family that lists all others.
const CONTROL: u16 = 16;
/// `struct genlmsghdr` with `CTRL_CMD_GETFAMILY`, version 2.
const GET_FAMILY: [u8; 4] = [3, 2, 0, 0];
/// `CTRL_ATTR_FAMILY_ID`
const FAMILY_NUMBER: u16 = 1;
/// `CTRL_ATTR_FAMILY_NAME`
const FAMILY_NAME: u16 = 2;
/// `NLA_TYPE_MASK`: the bits above it are flags.
const KIND_OF_ATTRIBUTE: u16 = 0x3fff;

/// A netlink socket that is kept open between scrapes. The kernel answers for the network namespace of this process,
/// whatever procfs and sysfs the other sources read.
#[derive(Debug)]
pub struct Netlink {
    protocol: Option<Protocol>,
    socket: Option<OwnedFd>,
    sequence: u32,
    request: Vec<u8>,
    buffer: Vec<u8>,
    deadline: Option<Deadline>,
    interrupted: bool,
}

/// The kernel did not answer a dump, or not completely.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {table} over netlink: {source}")]
pub struct NetlinkError {
    table: &'static str,
    source: io::Error,
    /// The kernel refused to create a socket.
    without_socket: bool,
}

impl Clone for NetlinkError {
    fn clone(&self) -> Self {
        let source = match self.source.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        };
        Self { source, ..*self }
    }
}

impl NetlinkError {
    /// The error for a table that could not be read for another reason than the kernel's refusal.
    pub(super) fn new(table: &'static str, source: io::Error) -> Self {
        Self {
            table,
            source,
            without_socket: false,
        }
    }

    /// Whether this process may not use netlink at all, for example because of `RestrictAddressFamilies=` in systemd.
    pub fn is_out_of_reach(&self) -> bool {
        let refusals = [
            Errno::AFNOSUPPORT,
            Errno::PROTONOSUPPORT,
            Errno::ACCESS,
            Errno::PERM,
        ];
        let refusal = |errno: Errno| self.source.raw_os_error() == Some(errno.raw_os_error());
        self.without_socket && refusals.into_iter().any(refusal)
    }

    /// Whether the kernel supports the request and the driver does not.
    pub fn is_unsupported(&self) -> bool {
        self.source.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error())
    }
}

impl Netlink {
    /// Creates a socket for links, addresses, routes, neighbors and queueing disciplines; it is opened at the first dump.
    pub fn routing() -> Self {
        Self::of(None)
    }

    /// Creates a socket for lists of sockets.
    pub fn socket_diagnosis() -> Self {
        Self::of(Some(netlink::SOCK_DIAG))
    }

    /// Creates a socket for generic netlink families.
    pub fn generic() -> Self {
        Self::of(Some(netlink::GENERIC))
    }

    fn of(protocol: Option<Protocol>) -> Self {
        Self {
            protocol,
            socket: None,
            sequence: 0,
            request: Vec::new(),
            buffer: Vec::new(),
            deadline: None,
            interrupted: false,
        }
    }

    /// Waits for replies until the deadline at most.
    pub fn until(&mut self, deadline: Deadline) -> &mut Self {
        self.deadline = Some(deadline);
        self
    }

    /// Requests a whole table with a request of the given type and passes the body of each entry to `each`. `table` names
    /// it in an error.
    ///
    /// # Errors
    ///
    /// The kernel refused, the socket failed, or the deadline passed before the end of the table. The next dump opens a new
    /// socket, so that no old reply is left.
    pub fn dump(
        &mut self,
        table: &'static str,
        kind: u16,
        request: &[u8],
        each: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        let result = self.dump_once(kind, request, each);
        result.map_err(|source| {
            let without_socket = self.socket.is_none();
            self.socket = None;
            NetlinkError {
                table,
                source,
                without_socket,
            }
        })
    }

    /// Whether the table changed during the last dump, so that an entry may be missing or duplicated.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Returns the number of a generic family, which is the type of its requests; `None` if this kernel does not have it.
    ///
    /// # Errors
    ///
    /// The kernel refused, or the socket failed.
    pub fn family(&mut self, name: &str) -> Result<Option<u16>, NetlinkError> {
        let mut number = None;
        self.dump("generic families", CONTROL, &GET_FAMILY, |entry| {
            let all = || attributes(entry.get(GET_FAMILY.len()..).unwrap_or_default());
            let named = all().any(|(kind, value)| {
                kind == FAMILY_NAME && value.strip_suffix(b"\0") == Some(name.as_bytes())
            });
            if named {
                let found = all().find(|(kind, _)| *kind == FAMILY_NUMBER);
                number = found.and_then(|(_, value)| u16_at(value, 0));
            }
        })?;
        Ok(number)
    }

    /// Returns the name of a network device; `None` if it has disappeared.
    pub fn device_name(&self, index: u32) -> Option<InlinedName> {
        index_to_name_inlined(self.socket.as_ref()?, index).ok()
    }

    fn dump_once(
        &mut self,
        kind: u16,
        request: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let longest = Deadline::after(PATIENCE);
        let deadline = self.deadline.map_or(longest, |until| until.min(longest));
        let left = deadline.left();
        if left.is_zero() {
            return Err(late(Errno::AGAIN));
        }
        self.interrupted = false;
        self.sequence = self.sequence.wrapping_add(1);
        self.request.clear();
        write_request(&mut self.request, kind, self.sequence, request);
        let socket = open(&mut self.socket, self.protocol)?;
        set_socket_timeout(socket, Timeout::Recv, Some(left.max(SHORTEST)))?;
        rustix::net::send(socket, &self.request, SendFlags::empty())?;
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        loop {
            let receive =
                || rustix::net::recv(socket, self.buffer.as_mut_slice(), RecvFlags::empty());
            let (_, length) = rustix::io::retry_on_intr(receive).map_err(late)?;
            let answer = self.buffer.get(..length).unwrap_or_default();
            match walk(answer, self.sequence, &mut each)? {
                Walk::Ended { interrupted } => {
                    self.interrupted |= interrupted;
                    return Ok(());
                }
                Walk::GoesOn { interrupted } => self.interrupted |= interrupted,
            }
            if deadline.has_passed() {
                return Err(late(Errno::AGAIN));
            }
        }
    }
}

/// Maps the timeout of a socket to the right error.
fn late(errno: Errno) -> io::Error {
    if errno == Errno::AGAIN {
        let message = "the kernel has not answered in time";
        return io::Error::new(io::ErrorKind::TimedOut, message);
    }
    errno.into()
}

fn open(socket: &mut Option<OwnedFd>, protocol: Option<Protocol>) -> Result<&OwnedFd, Errno> {
    match socket {
        Some(socket) => Ok(socket),
        none => {
            let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
            let opened = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, protocol)?;
            Ok(none.insert(opened))
        }
    }
}

fn write_request(out: &mut Vec<u8>, kind: u16, sequence: u32, request: &[u8]) {
    let length = (HEADER + request.len()) as u32;
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&DUMP.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&0_u32.to_ne_bytes());
    out.extend_from_slice(request);
}

/// The content of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// It contains the end of the dump.
    Ended { interrupted: bool },
    /// More replies follow.
    GoesOn { interrupted: bool },
}

/// Passes the body of each message to `each`.
pub(super) fn walk(
    mut answer: &[u8],
    sequence: u32,
    mut each: impl FnMut(&[u8]),
) -> io::Result<Walk> {
    let mut interrupted = false;
    while !answer.is_empty() {
        let (Some(length), Some(kind), Some(flags), Some(of)) = (
            u32_at(answer, 0),
            u16_at(answer, 4),
            u16_at(answer, 6),
            u32_at(answer, 8),
        ) else {
            return Err(broken());
        };
        let length = length as usize;
        let body = answer.get(HEADER..length).ok_or_else(broken)?;
        if of == sequence {
            interrupted |= flags & INTERRUPTED != 0;
            match kind {
                ERROR | DONE => return verdict(body).map(|()| Walk::Ended { interrupted }),
                _ => each(body),
            }
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Walk::GoesOn { interrupted })
}

/// Errors and the end both carry a negated error number; 0 means none.
fn verdict(body: &[u8]) -> io::Result<()> {
    match u32_at(body, 0).map(u32::cast_signed) {
        None | Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno.wrapping_neg())),
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message is cut short")
}

/// Iterates over the attributes after a message's fixed part: type and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & KIND_OF_ATTRIBUTE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Formats a hardware address in the usual form, `02:00:00:00:00:ab`.
pub fn hardware_address(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    write_hardware_address(bytes, &mut text);
    text.into_iter().map(char::from).collect()
}

/// Appends a hardware address formatted like [`hardware_address`].
pub fn write_hardware_address(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 {
            out.push(b':');
        }
        out.extend([digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Reads two bytes at `offset` as a number in native byte order, as everywhere in netlink.
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

/// Reads four bytes at `offset` as a number.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// Reads eight bytes at `offset` as a number.
pub fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

/// Encodes an attribute in the kernel's layout.
#[cfg(test)]
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = (4 + value.len() as u16).to_ne_bytes().to_vec();
    attribute.extend_from_slice(&kind.to_ne_bytes());
    attribute.extend_from_slice(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET_LINK: u16 = 18;

    #[test]
    fn the_kernel_lists_its_loopback_again_and_again() {
        let mut netlink = Netlink::routing();
        for _ in 0..2 {
            let mut names = Vec::new();
            let request = [0; 16];
            netlink
                .dump("links", GET_LINK, &request, |body| {
                    let attributes = attributes(body.get(16..).unwrap());
                    names.extend(
                        attributes
                            .filter(|(kind, _)| *kind == 3)
                            .map(|(_, name)| name.to_vec()),
                    );
                })
                .unwrap();
            assert!(names.contains(&b"lo\0".to_vec()), "{names:?}");
        }
        assert_eq!(netlink.device_name(1).unwrap().as_str(), "lo");
        assert!(netlink.device_name(u32::MAX >> 1).is_none());
    }

    #[test]
    fn generic_families_have_numbers() {
        let mut netlink = Netlink::generic();
        assert_eq!(netlink.family("nlctrl").unwrap(), Some(CONTROL));
        assert_eq!(netlink.family("nlct").unwrap(), None);
    }

    #[test]
    fn a_refusal_names_the_table() {
        let error = Netlink::routing()
            .dump("nonsense", u16::MAX, &[], |_| {})
            .unwrap_err();
        assert!(error.is_unsupported());
        assert!(
            error
                .to_string()
                .starts_with("cannot read nonsense over netlink: "),
            "{error}"
        );
    }

    /// The kernel does not answer some invalid requests.
    #[test]
    fn a_deadline_ends_the_wait_with_an_error() {
        let begin = std::time::Instant::now();
        let error = Netlink::routing()
            .until(Deadline::after(Duration::ZERO))
            .dump("links", GET_LINK, &[0; 16], |_| {})
            .unwrap_err();
        assert!(begin.elapsed() < PATIENCE);
        assert_eq!(
            error.to_string(),
            "cannot read links over netlink: the kernel has not answered in time"
        );
        assert_eq!(error.clone().to_string(), error.to_string());
        assert!(!error.is_out_of_reach());
    }

    #[test]
    fn hardware_addresses_have_two_digits_for_each_byte() {
        assert_eq!(hardware_address(&[2, 0, 0xab]), "02:00:ab");
        assert_eq!(hardware_address(&[]), "");
    }

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        write_request(&mut message, kind, sequence, body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn only_answers_to_the_question_count_until_the_end() {
        let mut seen = Vec::new();
        let answer = [
            message(16, 7, b"abcde"),
            message(16, 6, b"left over"),
            message(16, 7, b"f"),
            message(DONE, 7, &[0; 4]),
        ]
        .concat();
        let ended = Walk::Ended { interrupted: false };
        let each = |body: &[u8]| seen.push(body.to_vec());
        assert_eq!(walk(&answer, 7, each).unwrap(), ended);
        assert_eq!(seen, [b"abcde".to_vec(), b"f".to_vec()]);
        let more = Walk::GoesOn { interrupted: false };
        assert_eq!(walk(&message(16, 7, b""), 7, |_| {}).unwrap(), more);
        let mut changed = message(DONE, 7, &[0; 4]);
        changed[6] |= INTERRUPTED as u8;
        let interrupted = Walk::Ended { interrupted: true };
        assert_eq!(walk(&changed, 7, |_| {}).unwrap(), interrupted);
        let refusal = message(ERROR, 7, &(-1_i32).to_ne_bytes());
        assert_eq!(
            walk(&refusal, 7, |_| {}).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
    }

    #[test]
    fn what_is_cut_short_is_an_error_or_the_end() {
        let whole = message(16, 7, b"abcd");
        for length in 1..whole.len() {
            assert!(walk(&whole[..length], 7, |_| {}).is_err(), "{length}");
        }
        // A length of zero must not cause an endless loop.
        assert!(walk(&[0; 64], 0, |_| {}).is_err());
        assert_eq!(attributes(&[0; 64]).count(), 0);
        let attribute = attribute(3 | 0x8000, b"x");
        assert_eq!(
            attributes(&attribute).collect::<Vec<_>>(),
            [(3, b"x".as_slice())]
        );
        assert_eq!(attributes(&attribute[..4]).count(), 0);
    }
}
