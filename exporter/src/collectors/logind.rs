//! `logind`: user sessions, over the message bus.

use zbus::zvariant::OwnedObjectPath;

use crate::collect::samples::gather;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{BusError, Deadline, Peer, SystemBus};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "logind",
    default_enabled: false,
    summary: "User sessions, from systemd-logind over the message bus.",
    options: &[],
    build,
};

const SERVICE: &str = "org.freedesktop.login1";
const REMOTE: [bool; 2] = [false, true];
/// The types and classes of sessions; unknown ones count as the first.
const KINDS: [&str; 7] = [
    "other",
    "mir",
    "tty",
    "unspecified",
    "wayland",
    "web",
    "x11",
];
const CLASSES: [&str; 5] = ["other", "background", "greeter", "lock-screen", "user"];

struct Logind {
    bus: SystemBus,
}

/// A session as it is listed: its ID, its user's number and name, its seat and its object.
type ListedSession = (String, u32, String, String, OwnedObjectPath);

#[derive(Debug, PartialEq, Eq)]
struct Session {
    seat: String,
    remote: bool,
    kind: &'static str,
    class: &'static str,
}

fn build(_: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Logind {
        bus: SystemBus::default(),
    }))
}

impl Collector for Logind {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        self.bus.until(deadline);
        let seats: Vec<(String, OwnedObjectPath)> = self.bus.call(manager(), "ListSeats", &())?;
        let mut seats: Vec<String> = seats.into_iter().map(|(name, _)| name).collect();
        // Sessions without a seat are remote.
        seats.push(String::new());
        let listed: Vec<ListedSession> = self.bus.call(manager(), "ListSessions", &())?;
        let mut sessions = Vec::new();
        for session in listed {
            sessions.extend(self.session(session)?);
        }
        gather(out, |samples| {
            for (seat, remote, kind, class) in combinations(&seats) {
                let is_it = |session: &&Session| {
                    (
                        session.seat.as_str(),
                        session.remote,
                        session.kind,
                        session.class,
                    ) == (seat, remote, kind, class)
                };
                let count = sessions.iter().filter(is_it).count();
                samples.gauge(
                    "node_logind_sessions",
                    "Number of user sessions, by seat, remoteness, type and class.",
                    &[
                        ("class", class.as_bytes()),
                        ("remote", if remote { b"true" } else { b"false" }),
                        ("seat", seat.as_bytes()),
                        ("type", kind.as_bytes()),
                    ],
                    count as f64,
                );
            }
            Ok(())
        })
    }
}

fn manager() -> Peer<'static> {
    Peer {
        service: SERVICE,
        object: "/org/freedesktop/login1",
        interface: "org.freedesktop.login1.Manager",
    }
}

impl Logind {
    /// Queries the session's properties; `None` if it has ended since.
    fn session(
        &mut self,
        (_, _, _, seat, object): ListedSession,
    ) -> Result<Option<Session>, BusError> {
        let peer = Peer {
            service: SERVICE,
            object: object.as_str(),
            interface: "org.freedesktop.login1.Session",
        };
        let remote: Option<bool> = self.bus.property(peer, "Remote")?;
        let kind: Option<String> = self.bus.property(peer, "Type")?;
        let class: Option<String> = self.bus.property(peer, "Class")?;
        let (Some(remote), Some(kind), Some(class)) = (remote, kind, class) else {
            return Ok(None);
        };
        Ok(Some(Session {
            seat,
            remote,
            kind: known(&kind, &KINDS),
            class: known(&class, &CLASSES),
        }))
    }
}

fn known(name: &str, all: &[&'static str]) -> &'static str {
    all.iter()
        .find(|known| **known == name)
        .copied()
        .unwrap_or("other")
}

/// Every combination of seat, remoteness, type and class, so that a count that has fallen to zero is shown as zero.
fn combinations(
    seats: &[String],
) -> impl Iterator<Item = (&str, bool, &'static str, &'static str)> {
    seats.iter().flat_map(|seat| {
        REMOTE.into_iter().flat_map(move |remote| {
            KINDS.into_iter().flat_map(move |kind| {
                CLASSES
                    .into_iter()
                    .map(move |class| (seat.as_str(), remote, kind, class))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::FakeBus;
    use std::time::Duration;

    struct Manager;
    struct Remote(&'static str);

    #[zbus::interface(name = "org.freedesktop.login1.Manager")]
    impl Manager {
        fn list_seats(&self) -> Vec<(String, OwnedObjectPath)> {
            let path = OwnedObjectPath::try_from("/org/freedesktop/login1/seat/seat0").unwrap();
            vec![("seat0".to_owned(), path)]
        }
        fn list_sessions(&self) -> Vec<ListedSession> {
            let session = |name: &str, seat: &str| {
                let path = format!("/org/freedesktop/login1/session/{name}");
                let path = OwnedObjectPath::try_from(path).unwrap();
                (name.to_owned(), 0, "root".to_owned(), seat.to_owned(), path)
            };
            vec![
                session("a", ""),
                session("b", ""),
                session("c", "seat0"),
                session("gone", ""),
            ]
        }
    }

    #[zbus::interface(name = "org.freedesktop.login1.Session")]
    impl Remote {
        #[zbus(property)]
        fn remote(&self) -> bool {
            true
        }
        #[zbus(property, name = "Type")]
        fn kind(&self) -> &str {
            self.0
        }
        #[zbus(property)]
        fn class(&self) -> &str {
            "user"
        }
    }

    #[test]
    fn sessions_are_counted_by_what_they_are() {
        let bus = FakeBus::new(|builder| {
            let session = "/org/freedesktop/login1/session";
            builder
                .serve_at("/org/freedesktop/login1", Manager)?
                .serve_at(format!("{session}/a"), Remote("tty"))?
                .serve_at(format!("{session}/b"), Remote("tty"))?
                .serve_at(format!("{session}/c"), Remote("new"))
        });
        let mut out = Exposition::default();
        Logind { bus: bus.client() }
            .collect(&mut out, Deadline::after(Duration::from_secs(9)))
            .unwrap();
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples.len(), 2 * 7 * 5 * 2);
        let found: Vec<&&str> = samples
            .iter()
            .filter(|line| !line.ends_with(" 0"))
            .collect();
        assert_eq!(
            found,
            [
                &"node_logind_sessions{class=\"user\",remote=\"true\",seat=\"\",type=\"tty\"} 2",
                &"node_logind_sessions{class=\"user\",remote=\"true\",seat=\"seat0\",type=\"other\"} 1",
            ]
        );
    }
}
