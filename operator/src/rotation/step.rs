//! The changes of a state: what a decision consists of.

use secure_exporter_pki::secret_text::SecretText;

use crate::{
    rotation::{annotations::Subject, state::Leaf},
    supplied::credentials::Users,
};

/// One change of the state. Steps are carried out in the order of the list, and stored together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A certificate authority of this generation, from now on the only one.
    ReplaceAuthority {
        /// Its generation.
        generation: u64,
    },
    /// A certificate authority of this generation, certified by the active one: scrapers are told to trust both. One that
    /// was prepared and not yet switched to is left out again.
    PrepareAuthority {
        /// Its generation.
        generation: u64,
    },
    /// The authorities of another issuer, from now on the only ones.
    ReplaceBundle {
        /// Their generation.
        generation: u64,
        /// Their certificates, PEM.
        bundle_pem: String,
    },
    /// The authorities of another issuer: scrapers are told to trust them besides the active one. One that was prepared
    /// and not yet switched to is left out again.
    PrepareBundle {
        /// Their generation.
        generation: u64,
        /// Their certificates, PEM.
        bundle_pem: String,
    },
    /// The newest authority was prepared, and is not switched to.
    AbandonAuthority,
    /// An authority that was left, and is still trusted, becomes the newest.
    RecallAuthority {
        /// Its generation until now.
        generation: u64,
        /// Its generation from now on.
        again: u64,
    },
    /// The newest authority signs from now on.
    SwitchAuthority,
    /// Scrapers are told to trust the active authority alone.
    DropAuthorities,
    /// A leaf certificate, signed by the active authority.
    IssueLeaf {
        /// Why.
        because: Because,
    },
    /// A leaf certificate that somebody else has issued.
    ServeSupplied {
        /// It, its key, and which authority verifies it.
        leaf: Leaf,
    },
    /// The client certificate follows to the active authority: exporters and scrapers overlap anew.
    SwitchClient,
    /// A client certificate for scrapers, signed by the active authority.
    IssueClient {
        /// Why.
        because: Because,
    },
    /// A password of this generation, from now on the only one.
    ReplacePassword {
        /// Its generation.
        generation: u64,
        /// The password, where it is the user's own; else one is generated.
        own: Option<SecretText>,
    },
    /// A password of this generation: the exporters accept it besides the active one.
    PreparePassword {
        /// Its generation.
        generation: u64,
        /// The password, where it is the user's own; else one is generated.
        own: Option<SecretText>,
    },
    /// Another password was asked for, and only its owner can change it.
    KeepPassword,
    /// The spec that this pass goes by is stored: what is served is renewed by it, whatever the resource asks for later.
    AcceptSpec,
    /// The further users, from now on the only ones.
    ReplaceUsers {
        /// All of them.
        users: Users,
    },
    /// Scrapers are told to use the newest password.
    SwitchPassword,
    /// The exporters accept the active password alone.
    DropPasswords,
    /// A new hash of the active password: the cost that is asked for has changed.
    HashAgain,
    /// What the stage of the authority publishes was read back: its timers start.
    ConfirmAuthority,
    /// What the stage of the password publishes was read back: its timers start.
    ConfirmPassword,
    /// The clock has jumped: the timers that run start anew, which is later than needed and never earlier.
    RestartTimers,
    /// What was published is not there any more: the timers that run start anew when it is, because who has not got it yet
    /// needs their whole lag again.
    AwaitPublication,
    /// A request was acted on.
    Remember {
        /// What was asked for.
        subject: Subject,
        /// The annotation's value.
        token: String,
    },
    /// A request that only the issuer can act on: it is answered, and remembered.
    Decline {
        /// What was asked for.
        subject: Subject,
        /// The annotation's value.
        token: String,
    },
    /// A request is made no more.
    Forget {
        /// What was asked for.
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
            Self::ConfirmAuthority | Self::ConfirmPassword | Self::Forget { .. }
        )
    }

    /// Whether it begins or ends a stage between one authority and the next.
    pub(crate) fn enters_stage(&self) -> bool {
        matches!(
            self,
            Self::PrepareBundle { .. }
                | Self::AbandonAuthority
                | Self::RecallAuthority { .. }
                | Self::SwitchAuthority
        )
    }
}

/// Why a leaf or a client certificate is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// There is none yet.
    First,
    /// It has reached its renewal time.
    Due,
    /// The spec asks for another one: other names, key, subject or duration.
    SpecChanged,
    /// Another authority signs now.
    NewAuthority,
    /// Somebody asked for it.
    Requested,
    /// The issuer refused the one that was asked for before.
    Refused,
}

impl Because {
    /// For events and logs.
    pub fn text(self) -> &'static str {
        match self {
            Self::First => "the first one",
            Self::Due => "renewal time reached",
            Self::SpecChanged => "the spec asks for another one",
            Self::NewAuthority => "a new authority signs",
            Self::Requested => "asked for by annotation",
            Self::Refused => "the issuer refused the one before",
        }
    }
}
