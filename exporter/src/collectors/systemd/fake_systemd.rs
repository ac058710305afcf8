//! A systemd with a few units, for the tests of its collector.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use zbus::zvariant::OwnedObjectPath;

use super::ListedUnit;
use crate::sources::FakeBus;

struct Manager;
struct Service {
    restarts: u32,
}
struct Timer;
struct Socket;

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    #[zbus(property)]
    fn version(&self) -> &str {
        "252.39-1~deb12u1"
    }
    #[zbus(property)]
    fn virtualization(&self) -> &str {
        "kvm"
    }
    #[zbus(property)]
    fn system_state(&self) -> &str {
        "running"
    }
    fn list_units(&self) -> Vec<ListedUnit> {
        let unit = |name: &str, load: &str, state: &str, object: &str| {
            let own = |text: &str| text.to_owned();
            let path = |text: String| OwnedObjectPath::try_from(text).unwrap();
            (
                own(name),
                own("A unit"),
                own(load),
                own(state),
                own("sub"),
                own(""),
                path(format!("/org/freedesktop/systemd1/unit/{object}")),
                0,
                own(""),
                path(own("/")),
            )
        };
        vec![
            unit("ssh.service", "loaded", "active", "ssh"),
            unit("gone.service", "not-found", "inactive", "gone"),
            unit("apt.timer", "loaded", "active", "apt"),
            unit("dbus.socket", "loaded", "failed", "dbus"),
            unit("tmp.mount", "loaded", "active", "tmp"),
        ]
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property, name = "Type")]
    fn kind(&self) -> &str {
        "notify"
    }
    #[zbus(property, name = "NRestarts")]
    fn restarts(&self) -> u32 {
        self.restarts
    }
    #[zbus(property)]
    fn tasks_current(&self) -> u64 {
        4
    }
    #[zbus(property)]
    fn tasks_max(&self) -> u64 {
        u64::MAX
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Timer")]
impl Timer {
    #[zbus(property, name = "LastTriggerUSec")]
    fn last_trigger(&self) -> u64 {
        1_700_000_000_500_000
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Socket")]
impl Socket {
    #[zbus(property, name = "NAccepted")]
    fn accepted(&self) -> u32 {
        7
    }
    #[zbus(property, name = "NConnections")]
    fn connections(&self) -> u32 {
        2
    }
    #[zbus(property, name = "NRefused")]
    fn refused(&self) -> u32 {
        1
    }
}

/// A bus with this systemd on it.
pub(super) fn bus() -> FakeBus {
    FakeBus::new(|builder| {
        let unit = "/org/freedesktop/systemd1/unit";
        builder
            .serve_at("/org/freedesktop/systemd1", Manager)?
            .serve_at(format!("{unit}/ssh"), Service { restarts: 3 })?
            .serve_at(format!("{unit}/apt"), Timer)?
            .serve_at(format!("{unit}/dbus"), Socket)
    })
}
