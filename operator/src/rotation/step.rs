//! The changes of a state, by their subject: what a decision consists of.

use secure_exporter_pki::secret_text::SecretText;

use crate::{
    rotation::{annotations::Subject, because::Because, order::OrderStep, state::Leaf},
    supplied::credentials::Users,
};

/// One change of the state. The steps of a list are carried out in order, and stored together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The CA, or the CA bundle of another issuer.
    Authority(AuthorityStep),
    /// The serving certificate.
    Leaf(LeafStep),
    /// The client certificate.
    Client(ClientStep),
    /// The password of the scrapers.
    Password(PasswordStep),
    /// The additional users are replaced.
    ReplaceUsers {
        /// All of them.
        users: Users,
    },
    /// The timers of the rotation in progress.
    Timers(TimerStep),
    /// What a user requested by annotation.
    Request(RequestStep),
    /// The order of a certificate from another issuer.
    Order(OrderStep),
    /// The spec in force is stored, so that renewals use it while a later spec of the resource is invalid.
    AcceptSpec,
}

/// A change of the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityStep {
    /// Issues a CA and removes all others.
    Replace {
        /// Its generation.
        generation: u64,
    },
    /// Issues a CA, cross-signed by the active one, and adds it to the CA bundle. Replaces a prepared CA that is not active
    /// yet.
    Prepare {
        /// Its generation.
        generation: u64,
    },
    /// Takes over the CA bundle of another issuer and removes all other CAs.
    ReplaceBundle {
        /// Its generation.
        generation: u64,
        /// Its certificates, PEM.
        bundle_pem: String,
    },
    /// Adds the CA bundle of another issuer to the published one. Replaces a prepared CA that is not active yet.
    PrepareBundle {
        /// Its generation.
        generation: u64,
        /// Its certificates, PEM.
        bundle_pem: String,
    },
    /// Removes the newest CA, which was prepared and is not active yet.
    Abandon,
    /// Makes a previous CA that is still trusted the newest one.
    Recall {
        /// Its generation until now.
        generation: u64,
        /// Its generation from now on.
        again: u64,
    },
    /// Makes the newest CA the active one, which signs.
    Switch,
    /// Removes all CAs except the active one from the CA bundle.
    DropOthers,
    /// Starts the timers of the current stage, because everything that it publishes was read back.
    Confirm,
}

impl AuthorityStep {
    /// Whether it begins or ends a stage of a CA rotation.
    pub(crate) fn enters_stage(&self) -> bool {
        matches!(
            self,
            Self::PrepareBundle { .. } | Self::Abandon | Self::Recall { .. } | Self::Switch
        )
    }
}

/// A change of the serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafStep {
    /// Issues one that is signed by the active CA.
    Issue {
        /// Why.
        because: Because,
    },
    /// Serves one from another issuer.
    Serve {
        /// The certificate, its key, and which CA verifies it.
        leaf: Leaf,
    },
}

/// A change of the client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Switches it to the active CA, which starts another overlap.
    Switch,
    /// Issues one that is signed by the active CA.
    Issue {
        /// Why.
        because: Because,
    },
}

/// A change of the password of the scrapers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordStep {
    /// Adds a password and removes all others.
    Replace {
        /// Its generation.
        generation: u64,
        /// The user-supplied password; `None` to generate one.
        own: Option<SecretText>,
    },
    /// Adds a password, which the exporters accept besides the active one.
    Prepare {
        /// Its generation.
        generation: u64,
        /// The user-supplied password; `None` to generate one.
        own: Option<SecretText>,
    },
    /// A rotation of the password was requested, but only the user can change it.
    Keep,
    /// Publishes the newest password for the scrapers.
    Switch,
    /// Removes all passwords except the active one.
    DropOthers,
    /// Hashes the active password again, because the bcrypt cost in the spec changed.
    HashAgain,
    /// Starts the timers of the current stage, because everything that it publishes was read back.
    Confirm,
}

/// A change of the timers of the rotation in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerStep {
    /// Restarts the timers, because the clock jumped: they may end too late, but never too early.
    Restart,
    /// Restarts the timers once everything is published again, because a published object was deleted or changed: scrapers and
    /// exporters that do not have it yet need the whole time again.
    AwaitPublication,
}

/// The handling of a request by annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestStep {
    /// It was handled.
    Remember {
        /// What was requested.
        subject: Subject,
        /// The annotation's value.
        token: String,
    },
    /// It is declined, because only the issuer can fulfil it, and remembered as handled.
    Decline {
        /// What was requested.
        subject: Subject,
        /// The annotation's value.
        token: String,
    },
    /// The user removed it from the annotation.
    Forget {
        /// What was requested.
        subject: Subject,
    },
}

impl Step {
    /// Whether the step increases the generation: because it changes what is published, or because a previous state that is
    /// restored from a backup must be recognised as older. Otherwise that state would handle a request again, or use timers
    /// that were restarted. A missing confirmation only makes it wait, and a missing withdrawal is repeated.
    pub fn raises_generation(&self) -> bool {
        !matches!(
            self,
            Self::Authority(AuthorityStep::Confirm)
                | Self::Password(PasswordStep::Confirm)
                | Self::Request(RequestStep::Forget { .. })
                | Self::Order(_)
        )
    }
}
