//! The operator of the model: one pass as the real one makes it, by the same functions.

use std::collections::BTreeMap;

use secure_exporter_operator::{
    names::ChildKind,
    rotation::{
        annotations::Subject,
        because::Because,
        order::OrderStep,
        plan::{Circumstances, Issued, carry_out, plan},
        recall::{Known, Memory, Stored, depends_on_published, recall, watched_since},
        spec_in_force::spec_in_force,
        state::State,
        step::{AuthorityStep, LeafStep, PasswordStep, RequestStep, Step},
    },
    spec::{ValidSpec, issuer::ValidIssuer},
    supplied::{
        certificate::{Supplied, SupplyProblem},
        credentials::{SuppliedCredentials, UserSecret, Users},
    },
};

use super::{
    Mutant, World,
    distrust::Distrusted,
    published,
    reads::{Read, Unreadable},
    writes::Wanted,
};

impl World {
    /// One pass: what the real one does, by the same functions and in the same order of writes.
    ///
    /// # Errors
    /// The machine fails, or breaks a rule.
    pub fn operate(&mut self) -> Result<(), String> {
        let now = self.clock();
        let read = self.read();
        let Some((spec, known)) = self.known(&read) else {
            return Ok(());
        };
        if read.server.object().is_some() {
            self.forget_unpublished(&known);
        }
        let mut own = if self.is_unread(Unreadable::Credentials) {
            SuppliedCredentials::unreadable(&spec)
        } else {
            self.supplied_credentials(&spec)
        };
        if self.mutant == Mutant::UsersEndWithSecret && own.users.problem().is_some() {
            own.users = UserSecret::Usable(Users::new());
        }
        let issued = Issued {
            provided: self.provided(&spec),
            requests: self.asked(&spec, known.order.as_ref()),
            bundle: None,
        };
        let heard = self.hear(known.state.as_ref());
        let published = read.published();
        let memory = self.memory.as_ref();
        let clock_jumped = memory.is_some_and(|it| it.precedes_jump(self.clock_jumps));
        let clock_jumps = match (self.mutant, memory) {
            (Mutant::BelievesJumps, Some(memory)) => memory.clock_jumps,
            _ => self.clock_jumps,
        };
        let watched_since = watched_since(memory, clock_jumps, now);
        let it = Circumstances {
            spec: &spec,
            owner: &self.owner,
            requests: &self.requests,
            own: &own,
            issued: &issued,
            published: &published,
            heard: &heard,
            timers: &self.timers,
            now,
            clock_jumped: clock_jumped && self.mutant != Mutant::BelievesJumps,
            watched_since: match self.mutant {
                Mutant::BelievesEarlierClocks => jiff::Timestamp::MIN,
                _ => watched_since,
            },
        };
        let plan = plan(&known, &it).map_err(|error| error.to_string())?;
        let mut steps = plan.steps;
        self.check_requests(&steps)?;
        let distrusted = Distrusted::by(&steps, known.state.as_ref());
        self.break_steps(&known, &plan.supply, &issued.requests, &mut steps);
        let before = known.order.clone();
        let next = carry_out(&steps, known, &spec, &self.owner, now);
        let next = next.map_err(|error| error.to_string())?;
        let (requests, last_ordered) = (&issued.requests, next.last_ordered);
        let order = self.withdraw_order(&spec, before.as_ref(), next.order.as_ref(), requests);
        let Some(order) = order else {
            return Ok(());
        };
        let stored = Stored {
            state: next.state.map(|state| self.without_crosses(state)),
            order,
        };
        self.write(Wanted {
            spec: &spec,
            read: &read,
            requests,
            memory: Memory {
                stored: stored.clone(),
                last_ordered,
                clock_jumps: self.clock_jumps,
                watched_since,
            },
            stored,
            distrusted,
        })?;
        self.check_leaked(&own.password)
    }

    /// What the pass goes by; `None` where it goes by nothing.
    fn known(&self, read: &Read) -> Option<(ValidSpec, Known)> {
        if read.state.is_unread() {
            return None;
        }
        let published = read.published();
        let stored = read.state.object().cloned().unwrap_or_default();
        let memory = self.memory.as_ref();
        let asked = Some(&self.spec).filter(|_| self.is_valid);
        if asked.is_none() && self.mutant == Mutant::WaitsForValidSpec {
            return None;
        }
        let spec = spec_in_force(
            asked,
            stored.state.as_ref(),
            memory.and_then(|memory| memory.stored.state.as_ref()),
            &published,
            (&self.asked_for(), &self.owner),
        )?;
        let nothing = BTreeMap::new();
        let handled = match self.mutant {
            Mutant::ForgetsRequests => &nothing,
            _ => &self.handled,
        };
        let mut known = recall(stored, memory, &published, handled, &spec, self.clock());
        let is_unread = read.is_unread(ChildKind::Server) || read.is_unread(ChildKind::Scrape);
        let goes_on = self.mutant == Mutant::RebuildsFromLess;
        if is_unread && depends_on_published(&known, memory) && !goes_on {
            return None;
        }
        if self.mutant == Mutant::BelievesBackups && known.stored.state.is_some() {
            known.state.clone_from(&known.stored.state);
        }
        if self.mutant == Mutant::TimersFromIntent {
            known.state = known.state.map(confirmed_by_intent);
        }
        Some((spec, known))
    }

    /// What the operator reads of the Secret with another issuer's certificate.
    fn provided(&self, spec: &ValidSpec) -> Option<Result<Supplied, SupplyProblem>> {
        let ValidIssuer::Provided { .. } = spec.issuer else {
            return None;
        };
        let issuer = self.issuer.as_ref()?;
        Some(if self.is_unread(Unreadable::Supply) {
            Err(SupplyProblem::unread("500"))
        } else {
            issuer.checked(spec, self.clock())
        })
    }

    fn without_crosses(&self, mut state: State) -> State {
        if self.mutant == Mutant::NoCross {
            state.leaf.certificate_pem = published::first_certificate(&state.leaf.certificate_pem);
        }
        if let (Mutant::NoClientCross, Some(client)) = (self.mutant, &mut state.client) {
            client.certificate_pem = published::first_certificate(&client.certificate_pem);
        }
        state
    }

    /// What the status says was done is not done again.
    fn check_requests(&self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            let Step::Request(RequestStep::Remember { subject, token }) = step else {
                continue;
            };
            let acts = |step: &Step| match subject {
                Subject::Password => matches!(
                    step,
                    Step::Password(PasswordStep::Prepare { own: None, .. })
                ),
                Subject::Authority => {
                    matches!(step, Step::Authority(AuthorityStep::Prepare { .. }))
                }
                Subject::Certificate => matches!(
                    step,
                    Step::Leaf(LeafStep::Issue {
                        because: Because::Requested
                    }) | Step::Order(OrderStep::Ask {
                        because: Because::Requested,
                        ..
                    })
                ),
                Subject::DistrustAuthority | Subject::DistrustAll => matches!(
                    step,
                    Step::Authority(AuthorityStep::Replace { .. })
                        | Step::Password(PasswordStep::Replace { .. })
                ),
            };
            if self.handled.get(subject.name()) == Some(token) && steps.iter().any(acts) {
                return Err(format!("{token} is acted on again"));
            }
        }
        Ok(())
    }
}

fn confirmed_by_intent(mut state: State) -> State {
    if let Some(progress) = &mut state.authority_progress {
        progress.confirmed.get_or_insert(progress.since);
    }
    if let Some(progress) = &mut state.password_progress {
        progress.confirmed.get_or_insert(progress.since);
    }
    state
}
