//! The changes of a state, by their subject: what a decision consists of.

use secure_exporter_pki::secret_text::SecretText;

use crate::{
    rotation::{annotations::Subject, because::Because, order::OrderStep, state::Leaf},
    supplied::credentials::Users,
};

/// One change of the state. Steps are carried out in the order of the list, and stored together.
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
    /// The additional users, from now on the only ones.
    ReplaceUsers {
        /// All of them.
        users: Users,
    },
    /// The timers of the rotation under way.
    Timers(TimerStep),
    /// What a user requested by annotation.
    Request(RequestStep),
    /// The certificate that is on order from another issuer.
    Order(OrderStep),
    /// The spec that this pass goes by is stored: what is served is renewed by it, whatever the resource asks for later.
    AcceptSpec,
}

/// A change of the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityStep {
    /// A CA of this generation, from now on the only one.
    Replace {
        /// Its generation.
        generation: u64,
    },
    /// A CA of this generation, certified by the active one: scrapers are told to trust both. One that was prepared and not
    /// yet switched to is left out again.
    Prepare {
        /// Its generation.
        generation: u64,
    },
    /// The CA bundle of another issuer, from now on the only one.
    ReplaceBundle {
        /// Its generation.
        generation: u64,
        /// Its certificates, PEM.
        bundle_pem: String,
    },
    /// The CA bundle of another issuer: scrapers are told to trust it besides the active one. One that was prepared and not
    /// yet switched to is left out again.
    PrepareBundle {
        /// Its generation.
        generation: u64,
        /// Its certificates, PEM.
        bundle_pem: String,
    },
    /// The newest CA was prepared, and is not switched to.
    Abandon,
    /// A CA that was left, and is still trusted, becomes the newest.
    Recall {
        /// Its generation until now.
        generation: u64,
        /// Its generation from now on.
        again: u64,
    },
    /// The newest CA signs from now on.
    Switch,
    /// Scrapers are told to trust the active CA alone.
    DropOthers,
    /// What the current stage publishes was read back: its timers start.
    Confirm,
}

impl AuthorityStep {
    /// Whether it begins or ends a stage between one CA and the next.
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
    /// One that is signed by the active CA.
    Issue {
        /// Why.
        because: Because,
    },
    /// One that another issuer has issued.
    Serve {
        /// It, its key, and which CA verifies it.
        leaf: Leaf,
    },
}

/// A change of the client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// It follows to the active CA: exporters and scrapers overlap again.
    Switch,
    /// One that is signed by the active CA.
    Issue {
        /// Why.
        because: Because,
    },
}

/// A change of the password of the scrapers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordStep {
    /// A password of this generation, from now on the only one.
    Replace {
        /// Its generation.
        generation: u64,
        /// The password, where it is user-supplied; else one is generated.
        own: Option<SecretText>,
    },
    /// A password of this generation: the exporters accept it besides the active one.
    Prepare {
        /// Its generation.
        generation: u64,
        /// The password, where it is user-supplied; else one is generated.
        own: Option<SecretText>,
    },
    /// Another password was requested, and only the user can change it.
    Keep,
    /// Scrapers are told to use the newest password.
    Switch,
    /// The exporters accept the active password alone.
    DropOthers,
    /// A new hash of the active password: the cost that is asked for has changed.
    HashAgain,
    /// What the current stage publishes was read back: its timers start.
    Confirm,
}

/// A change of the timers of the rotation under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerStep {
    /// The clock has jumped: the timers start again, which is later than needed and never earlier.
    Restart,
    /// What was published is not there any more: the timers start again when it is, because who has not got it yet needs
    /// their whole lag again.
    AwaitPublication,
}

/// What becomes of a request by annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestStep {
    /// It was acted on.
    Remember {
        /// What was requested.
        subject: Subject,
        /// The annotation's value.
        token: String,
    },
    /// Only the issuer can act on it: it is answered, and remembered.
    Decline {
        /// What was requested.
        subject: Subject,
        /// The annotation's value.
        token: String,
    },
    /// It is withdrawn.
    Forget {
        /// What was requested.
        subject: Subject,
    },
}

impl Step {
    /// Whether it changes the generation: because it changes what is published, or because a state from before, restored
    /// from a backup, must be known to be older. It would act on an answered request again, or believe in timers that were
    /// restarted. A missing confirmation makes it wait, and a missing withdrawal is made up for.
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
