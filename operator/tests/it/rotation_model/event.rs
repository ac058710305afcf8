//! What can happen in the model.

use super::{issuer::Act, orders::OrderAct};

/// What happens next.
#[derive(Clone, Debug)]
pub enum Event {
    /// This many minutes pass.
    Pass(u8),
    /// The operator is killed after so many further writes, and is back within an hour and a half.
    Kill(u8),
    /// One generated Secret is deleted: 0 state, 1 server, 2 scrape, 3 bundle.
    Delete(u8),
    /// An earlier state is restored from a backup.
    Restore(u8),
    /// A node's kubelet stops, and its exporter keeps what it has.
    Freeze(u8),
    /// A node is cut off from everybody.
    CutOff(u8),
    /// A node is well again.
    Return(u8),
    /// The operator cannot reach a node's exporter, and scrapers can.
    Deafen(u8),
    /// A node's exporter restarts with the files that it has.
    Restart(u8),
    /// The user requests a rotation: 0 certificate, 1 CA, 2 password.
    Ask(u8),
    /// The user's own Secret with a password: 0 and 1 another one, 2 broken, 3 deleted, 4 named by the spec or not.
    Password(u8),
    /// The user-supplied Secret with additional users: 0 changed, 1 one user less, 2 invalid, 3 deleted.
    Users(u8),
    /// The operator's clock jumps, whether the operator runs or not: it is wrong by so many minutes from then on.
    Jump(i8),
    /// The user ends the trust in what has leaked: 0 the CA, 1 everything.
    Distrust(u8),
    /// The next pass sees one object as it was before its last change: 0 state, 1 server, 2 scrape, 3 bundle.
    Stale(u8),
    /// For some time something cannot be read: see [`Unreadable`](super::reads::Unreadable).
    Unread(u8),
    /// Another issuer does something; without another issuer, nothing happens.
    Issue(Act),
    /// cert-manager does something, or what is asked of it changes; without cert-manager, nothing happens.
    Order(OrderAct),
    /// The spec turns into one that cannot be accepted (even), or is mended (odd).
    Spoil(u8),
    /// For at most an hour and a half the API server refuses one object: 0 server, 1 scrape, 2 bundle, 3 state.
    Refuse(u8),
    /// The DaemonSet is deleted and made again: exporters of the earlier one serve until theirs is replaced.
    Recreate,
    /// A node joins, with a new exporter.
    Join,
    /// A node leaves.
    Leave(u8),
}
