//! Machines that are broken on purpose, each in one way.

/// What is broken in the machine on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mutant {
    /// Nothing.
    Sound,
    /// Old credentials end with the switch.
    NoOverlap,
    /// Timers start when something is decided on.
    TimersFromIntent,
    /// The leaf waits for the end of other rotations.
    LeafQueues,
    /// The client certificate waits for the end of other rotations.
    ClientQueues,
    /// The cross certificate is left out of the chain.
    NoCross,
    /// It is left out of the chain of the client certificate.
    NoClientCross,
    /// The client certificate changes with the leaf whether exporters can verify it or not.
    ClientJumps,
    /// It stays with the old authority when that is dropped.
    ClientStays,
    /// A clock that jumps is believed.
    BelievesJumps,
    /// A state from a backup is believed.
    BelievesBackups,
    /// A user-supplied password is published for the scrapers before exporters accept it.
    OwnPasswordAtOnce,
    /// Additional users are removed when their Secret is deleted.
    UsersEndWithSecret,
    /// Requests that an older state does not know are acted on again.
    ForgetsRequests,
    /// A certificate of another issuer is served before its CA is in the CA bundle.
    LeafFirst,
    /// It is served as soon as its CA is in the CA bundle.
    SoftTrust,
    /// Nothing is renewed while the spec cannot be accepted.
    WaitsForValidSpec,
    /// The state is stored behind what follows from it.
    StateLast,
    /// Credentials are published for the scrapers before the exporters have them.
    ScrapersFirst,
    /// The clock of an earlier process is believed.
    BelievesEarlierClocks,
    /// Objects are written whatever their version is by now.
    BlindWrites,
    /// What cannot be read is taken for missing when the state is rebuilt.
    RebuildsFromLess,
    /// A rotation with overlap follows where trust should end.
    DistrustOverlaps,
    /// The request counts as handled although the leaked password had to stay.
    ForgetsLeakedPassword,
    /// The status says that a request was handled before its outcome is published.
    HandledUnpublished,
    /// A refused order is not repeated.
    NeverOrdersAgain,
    /// An order is repeated that was not answered by the next pass.
    OrdersAnew,
    /// The answer to another request is taken for the answer to the order.
    TakesAnyAnswer,
    /// A certificate is requested before the order, which has its key, is stored.
    RequestFirst,
}
