//! What must be done next, and why. Pure: spec, state, what is published, what the exporters say, and the time.

use jiff::{SignedDuration, Timestamp};

use super::{
    authority, client,
    evidence::{Exporter, Tally},
    leaf, password,
    request::{Requests, Subject},
    state::{Leaf, State},
    supplied,
    timing::Timers,
};
use crate::{
    api::ValidSpec,
    own_credentials::{Own, OwnCredentials, Users},
    pki::InspectError,
    secret_text::SecretText,
    supply::Supply,
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
    pub(super) fn enters_stage(&self) -> bool {
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

/// Everything that a decision rests on, besides the state.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What is asked for.
    pub spec: &'a ValidSpec,
    /// What is asked for by annotation.
    pub requests: &'a Requests,
    /// What the user's own Secrets hold.
    pub own: &'a OwnCredentials,
    /// Where the certificate comes from, and what came.
    pub supply: &'a Supply,
    /// The uid of the resource: spreads renewals.
    pub uid: &'a str,
    /// Whether everything that follows from the stored state was read back from the API server.
    pub published: bool,
    /// The exporters.
    pub exporters: &'a [Exporter],
    /// The waits.
    pub timers: &'a Timers,
    /// The time.
    pub now: Timestamp,
    /// Whether the clock has jumped since the last look at it.
    pub clock_jumped: bool,
}

impl Situation<'_> {
    /// The overlap between old and new credentials.
    pub fn overlap(&self) -> SignedDuration {
        self.spec
            .rotation
            .client_overlap
            .max(self.timers.minimum_overlap)
    }

    /// Whether `wait` is over since `start`.
    pub fn is_over(&self, wait: SignedDuration, start: Timestamp) -> bool {
        self.now.duration_since(start) >= wait
    }
}

/// What has to be done for `state`. An empty list means that nothing changes.
///
/// # Errors
/// A certificate in the state cannot be read.
pub fn decide(state: Option<&State>, situation: &Situation<'_>) -> Result<Vec<Step>, InspectError> {
    let Some(state) = state else {
        return Ok(first(situation));
    };
    let mut steps: Vec<Step> = accept(state, situation).into_iter().collect();
    if let Some(distrusted) = distrust(state, situation) {
        steps.extend(distrusted);
        return Ok(steps);
    }
    steps.extend(forget(state, situation));
    steps.extend(replace_users(&state.users, situation));
    if let Some(restart) = restart(state, situation) {
        steps.push(restart);
        steps.extend(match situation.supply {
            Supply::Managed => leaf::renew(state, situation)?,
            Supply::External(supply) => supplied::renew(state, situation, supply),
        });
        steps.extend(client::renew(state, situation)?);
        return Ok(steps);
    }
    if let Supply::External(supply) = situation.supply {
        steps.extend(supplied::advance(state, situation, supply)?);
        steps.extend(password::advance(state, situation));
        return Ok(steps);
    }
    steps.extend(authority::advance(state, situation)?);
    steps.extend(password::advance(state, situation));
    let leaf_is_new = steps
        .iter()
        .any(|step| matches!(step, Step::IssueLeaf { .. }));
    if !leaf_is_new {
        // It waits for nothing and nobody, at any stage of the others.
        steps.extend(leaf::renew(state, situation)?);
    }
    let client_is_new = steps
        .iter()
        .any(|step| matches!(step, Step::IssueClient { .. }));
    if !client_is_new {
        steps.extend(client::renew(state, situation)?);
    }
    Ok(steps)
}

/// Who holds up what, now; `None` where nothing waits for exporters.
pub fn tally(state: &State, situation: &Situation<'_>) -> Option<Tally> {
    let authority = authority::tally(state, situation);
    let password = password::tally(state, situation);
    match (authority, password) {
        (Some(authority), Some(password)) if authority.is_settled() => Some(password),
        (authority, password) => authority.or(password),
    }
}

/// Whether the only thing that is still being waited for is what exporters say.
pub fn awaits_exporters(state: &State, situation: &Situation<'_>) -> bool {
    authority::awaits_exporters(state, situation) || password::awaits_exporters(state, situation)
}

/// When the state must be looked at again although nothing has happened.
///
/// # Errors
/// A certificate in the state cannot be read.
pub fn next_deadline(state: &State, situation: &Situation<'_>) -> Result<Timestamp, InspectError> {
    let (leaf, authority) = match situation.supply {
        Supply::Managed => (
            Some(leaf::due(state, situation)?),
            authority::deadline(state, situation)?,
        ),
        Supply::External(_) => (None, supplied::deadline(state, situation)?),
    };
    let times = [
        leaf,
        client::next(state, situation)?,
        authority,
        password::deadline(state, situation),
    ];
    // What is past already waits for something else than time.
    let coming = times
        .into_iter()
        .flatten()
        .filter(|time| *time > situation.now);
    Ok(coming.min().unwrap_or(Timestamp::MAX))
}

fn first(situation: &Situation<'_>) -> Vec<Step> {
    let because = Because::First;
    let mut steps = match situation.supply {
        Supply::Managed => vec![
            Step::ReplaceAuthority { generation: 1 },
            Step::IssueLeaf { because },
        ],
        Supply::External(supply) => supplied::first(supply),
    };
    if steps.is_empty() {
        // Without a certificate nothing can be served, and no password is of use.
        return steps;
    }
    steps.push(Step::AcceptSpec);
    if situation.spec.methods.ask_certificate() {
        steps.push(Step::IssueClient { because });
    }
    if situation.spec.methods.ask_password() {
        steps.push(Step::ReplacePassword {
            generation: 1,
            own: password::own(situation),
        });
    }
    steps.extend(replace_users(&Users::new(), situation));
    steps
}

/// What has leaked is replaced at once; scrapes fail until the scrapers have the new, and that is what was asked for.
fn distrust(state: &State, situation: &Situation<'_>) -> Option<Vec<Step>> {
    let pending = |subject| situation.requests.is_pending(subject, &state.handled);
    let all = pending(Subject::DistrustAll);
    if !all && !pending(Subject::DistrustAuthority) {
        return None;
    }
    let is_managed = *situation.supply == Supply::Managed;
    let mut steps = if is_managed {
        authority::replace(situation, next(state.authorities.keys()))
    } else {
        Vec::new()
    };
    if all && situation.spec.methods.ask_password() {
        steps.extend(password::replace(state, situation));
    }
    let done = [Subject::DistrustAuthority, Subject::DistrustAll];
    steps.extend(
        done.into_iter()
            .filter(|subject| pending(*subject))
            .map(|subject| {
                if is_managed {
                    remember(subject, situation)
                } else {
                    supplied::decline_one(subject, situation)
                }
            }),
    );
    Some(steps)
}

/// The spec that is gone by is written ahead of what follows from it.
fn accept(state: &State, situation: &Situation<'_>) -> Option<Step> {
    (state.accepted.as_ref() != Some(situation.spec)).then_some(Step::AcceptSpec)
}

/// Further users have no overlap: whom their admin removes is to be refused.
fn replace_users(current: &Users, situation: &Situation<'_>) -> Option<Step> {
    let wanted = match &situation.own.users {
        Own::Usable(users) => users.clone(),
        Own::Unasked => Users::new(),
        Own::Refused(_) | Own::Unread => return None,
    };
    (wanted != *current).then_some(Step::ReplaceUsers { users: wanted })
}

fn forget(state: &State, situation: &Situation<'_>) -> Vec<Step> {
    let withdrawn = situation.requests.withdrawn(&state.handled);
    withdrawn
        .into_iter()
        .map(|subject| Step::Forget { subject })
        .collect()
}

/// Why timers that run cannot be relied on. They measure by the wall clock, because they outlive the process: where it
/// jumps they would end too early or never.
fn restart(state: &State, situation: &Situation<'_>) -> Option<Step> {
    let confirmed = [
        state.authority_progress.and_then(|it| it.confirmed),
        state.password_progress.and_then(|it| it.confirmed),
    ];
    let latest = confirmed.into_iter().flatten().max()?;
    if !situation.published {
        return Some(Step::AwaitPublication);
    }
    (situation.clock_jumped || latest > situation.now).then_some(Step::RestartTimers)
}

/// The step by which a request counts as acted on.
pub(super) fn remember(subject: Subject, situation: &Situation<'_>) -> Step {
    Step::Remember {
        subject,
        token: situation.requests.token(subject).to_owned(),
    }
}

/// The generation after the newest.
pub(super) fn next<'a>(generations: impl Iterator<Item = &'a u64>) -> u64 {
    generations.max().copied().unwrap_or(0).saturating_add(1)
}
