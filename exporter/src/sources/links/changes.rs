//! Detects which network devices have changed since the last call, from the kernel's notifications.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use crate::sources::netlink::{u16_at, u32_at};

/// `RTMGRP_LINK`
const LINKS: u32 = 1;
/// `RTM_NEWLINK`
const CHANGED: u16 = 16;
/// `RTM_DELLINK`
const GONE: u16 = 17;
/// `struct nlmsghdr` and the part of `struct ifinfomsg` with the index. Each notification is a separate message, whose
/// attributes are not needed here.
const BEGINNING: usize = 24;

/// A socket on which the kernel sends notifications about network devices.
#[derive(Debug, Default)]
pub(super) struct Changes {
    socket: Option<OwnedFd>,
}

/// What may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The device with this index.
    Device(u32),
    /// Any device, because notifications were lost or the socket was not open before.
    Anything,
}

impl Changes {
    /// Passes each change since the last call to `each`. Never waits.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Change)) {
        let Some(socket) = &self.socket else {
            each(Change::Anything);
            self.socket = listen().ok();
            return;
        };
        let mut buffer = [0; BEGINNING];
        loop {
            let received = rustix::net::recv(socket, &mut buffer, RecvFlags::TRUNC);
            match received.map(|_| change(&buffer)) {
                Ok(Some(change)) => each(change),
                Ok(None) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // There were more notifications than the kernel queues. Those that it has queued are still read.
                Err(Errno::NOBUFS) => each(Change::Anything),
                Err(_) => {
                    each(Change::Anything);
                    self.socket = None;
                    return;
                }
            }
        }
    }
}

fn listen() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, LINKS))?;
    Ok(socket)
}

fn change(message: &[u8; BEGINNING]) -> Option<Change> {
    let index = match u16_at(message, 4)? {
        CHANGED | GONE => u32_at(message, 20)?,
        _ => return None,
    };
    Some(Change::Device(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_socket_knows_nothing_and_then_only_receives_changes() {
        let mut changes = Changes::default();
        let mut heard = Vec::new();
        changes.drain(|change| heard.push(change));
        assert_eq!(heard, [Change::Anything]);
        // Other tests on this machine may change devices meanwhile, but no notification is lost.
        let mut later = Vec::new();
        changes.drain(|change| later.push(change));
        assert!(!later.contains(&Change::Anything), "{later:?}");
    }

    #[test]
    fn an_announcement_begins_with_its_kind_and_has_the_index() {
        let mut message = [0; BEGINNING];
        message[4..6].copy_from_slice(&CHANGED.to_ne_bytes());
        message[20..].copy_from_slice(&7_u32.to_ne_bytes());
        assert_eq!(change(&message), Some(Change::Device(7)));
        message[4..6].copy_from_slice(&GONE.to_ne_bytes());
        assert_eq!(change(&message), Some(Change::Device(7)));
        message[4..6].copy_from_slice(&20_u16.to_ne_bytes());
        assert_eq!(change(&message), None);
    }
}
