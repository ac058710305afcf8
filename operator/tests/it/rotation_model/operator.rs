//! The operator of the model: one pass in the order in which the real one writes, and what it hears of the exporters. Here
//! it is broken on purpose, too.

use std::collections::{BTreeMap, BTreeSet};

use secure_exporter_operator::{
    apply::sequence::{SEQUENCE, Write},
    names::ChildKind,
    render::children,
    rotation::{
        annotations::Subject,
        because::Because,
        evidence::{Answer, Exporter, Heard},
        plan::{Circumstances, Issued, carry_out, plan},
        recall::{Known, Memory, Stored, recall},
        spec_in_force::spec_in_force,
        state::{AuthorityStage, Leaf, State},
        step::{AuthorityStep, ClientStep, LeafStep, PasswordStep, RequestStep, Step},
    },
    spec::ValidSpec,
    supplied::{
        cert_manager::Asked,
        certificate::Supply,
        credentials::{UserSecret, Users},
    },
};

use super::{
    Health, LONGEST_ABSENCE, Mutant, Node, World,
    published::{self, Chain},
};

impl World {
    /// One pass: what the real one does, by the same functions and in the same order of writes.
    ///
    /// # Errors
    /// The machine fails, or breaks a rule.
    pub fn operate(&mut self) -> Result<(), String> {
        let now = self.now + self.clock_offset;
        let Some((spec, known)) = self.known() else {
            return Ok(());
        };
        let heard = self.hear(known.state.as_ref());
        let mut own = self.supplied_credentials(&spec);
        if self.mutant == Mutant::UsersEndWithSecret && own.users.problem().is_some() {
            own.users = UserSecret::Usable(Users::new());
        }
        let supply = self.supply(&spec);
        let issued = Issued {
            provided: match &supply {
                Supply::Managed => None,
                Supply::External(supplied) => Some(supplied.clone()),
            },
            requests: Asked::Open(Vec::new()),
            bundle: None,
        };
        let published = self.store.published();
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
            clock_jumped: self.jumped && self.mutant != Mutant::BelievesJumps,
        };
        let mut steps = plan(&known, &it).map_err(|error| error.to_string())?.steps;
        self.jumped = false;
        self.check_requests(&steps)?;
        self.break_steps(known.state.as_ref(), &supply, &mut steps);
        let stored = known.stored.state.clone();
        let next = carry_out(&steps, known, &spec, &self.owner, now);
        let next = next.map_err(|error| error.to_string())?;
        let mut state = next.state.ok_or("no state")?;
        if self.mutant == Mutant::NoCross {
            state.leaf.certificate_pem = published::first_certificate(&state.leaf.certificate_pem);
        }
        if let (Mutant::NoClientCross, Some(client)) = (self.mutant, &mut state.client) {
            client.certificate_pem = published::first_certificate(&client.certificate_pem);
        }
        self.write(&spec, stored.as_ref(), state)
    }

    /// What the pass goes by; `None` where it goes by nothing.
    fn known(&self) -> Option<(ValidSpec, Known)> {
        let published = self.store.published();
        let stored = Stored {
            state: self.store.state.clone(),
            order: None,
        };
        let remembered = self.remembered.as_ref();
        let asked = Some(&self.spec).filter(|_| self.is_valid);
        if asked.is_none() && self.mutant == Mutant::WaitsForValidSpec {
            return None;
        }
        let spec = spec_in_force(
            asked,
            stored.state.as_ref(),
            remembered,
            &published,
            (&self.asked_for(), &self.owner),
        )?;
        let memory = remembered.map(|state| Memory {
            stored: Stored {
                state: Some(state.clone()),
                order: None,
            },
            last_ordered: None,
            clock_jumps: 0,
        });
        let nothing = BTreeMap::new();
        let handled = match self.mutant {
            Mutant::ForgetsRequests => &nothing,
            _ => &self.handled,
        };
        let now = self.now + self.clock_offset;
        let mut known = recall(stored, memory.as_ref(), &published, handled, &spec, now);
        if self.mutant == Mutant::BelievesBackups && known.stored.state.is_some() {
            known.state.clone_from(&known.stored.state);
        }
        if self.mutant == Mutant::TimersFromIntent {
            known.state = known.state.map(confirmed_by_intent);
        }
        Some((spec, known))
    }

    fn hear(&mut self, known: Option<&State>) -> Heard {
        let exporters = self.exporters(known);
        for (node, exporter) in &exporters {
            if exporter.answer.is_some() || !exporter.ready {
                self.nodes[*node].heard = self.now;
            }
        }
        let is_seen = self.daemon_set_seen <= self.now;
        Heard {
            wanted: is_seen.then_some(self.nodes.len()),
            exporters: exporters.into_iter().map(|(_, it)| it).collect(),
        }
    }

    fn break_steps(&self, known: Option<&State>, supply: &Supply, steps: &mut Vec<Step>) {
        let is_busy = known.is_some_and(|state| {
            state.authority_progress.is_some() || state.password_progress.is_some()
        });
        if self.mutant == Mutant::LeafQueues
            && is_busy
            && !steps.contains(&Step::Authority(AuthorityStep::Switch))
        {
            steps.retain(|step| !matches!(step, Step::Leaf(LeafStep::Issue { .. })));
        }
        let takes_own = |step: &Step| {
            matches!(
                step,
                Step::Password(PasswordStep::Prepare { own: Some(_), .. })
            )
        };
        if self.mutant == Mutant::OwnPasswordAtOnce && steps.iter().any(takes_own) {
            steps.push(Step::Password(PasswordStep::Switch));
        }
        self.break_clients(known, steps);
        self.break_supply(known, supply, steps);
    }

    fn break_clients(&self, known: Option<&State>, steps: &mut Vec<Step>) {
        let has_client = known.is_some_and(|state| state.client.is_some());
        let switches = steps.contains(&Step::Authority(AuthorityStep::Switch));
        let issues = |step: &Step| matches!(step, Step::Client(ClientStep::Issue { .. }));
        match self.mutant {
            Mutant::ClientQueues if !switches => {
                let busy = |state: &State| {
                    state.authority_progress.is_some() || state.password_progress.is_some()
                };
                if known.is_some_and(busy) {
                    steps.retain(|step| !issues(step));
                }
            }
            Mutant::ClientStays if switches => steps.retain(|step| !issues(step)),
            Mutant::ClientStays if steps.contains(&Step::Client(ClientStep::Switch)) => {
                *steps = vec![Step::Authority(AuthorityStep::DropOthers)];
            }
            Mutant::ClientJumps if switches && has_client && !steps.iter().any(issues) => {
                let because = Because::NewAuthority;
                steps.push(Step::Client(ClientStep::Issue { because }));
            }
            _ => {}
        }
    }

    fn break_supply(&self, known: Option<&State>, supply: &Supply, steps: &mut Vec<Step>) {
        let (Some(state), Supply::External(Ok(supplied))) = (known, supply) else {
            return;
        };
        let prepared = steps.iter().find_map(|step| match step {
            Step::Authority(AuthorityStep::PrepareBundle { generation, .. }) => Some(*generation),
            _ => None,
        });
        let is_told = state.authority_progress.is_some_and(|progress| {
            progress.stage == AuthorityStage::TrustPublished && progress.confirmed.is_some()
        });
        let generation = match self.mutant {
            Mutant::LeafFirst => prepared,
            Mutant::SoftTrust if is_told && prepared.is_none() => {
                let newest = state.authorities.last_key_value();
                newest
                    .filter(|(_, newest)| newest.certificate_pem == supplied.bundle_pem)
                    .map(|(generation, _)| *generation)
            }
            _ => None,
        };
        if let Some(generation) = generation {
            steps.retain(|step| {
                !matches!(
                    step,
                    Step::Leaf(LeafStep::Serve { .. }) | Step::Authority(AuthorityStep::Switch)
                )
            });
            steps.extend([
                Step::Authority(AuthorityStep::Switch),
                Step::Leaf(LeafStep::Serve {
                    leaf: Leaf {
                        certificate_pem: supplied.chain_pem.clone(),
                        key_pem: supplied.key_pem.clone(),
                        authority_generation: generation,
                        parameters: String::new(),
                    },
                }),
            ]);
        }
    }

    /// What the operator reads now.
    pub(super) fn supply(&self, spec: &ValidSpec) -> Supply {
        match (&self.issuer, spec.issuer.is_managed()) {
            (Some(issuer), false) => Supply::External(issuer.checked(spec, self.now)),
            _ => Supply::Managed,
        }
    }

    /// The writes of a pass, by the list that the real one goes by.
    fn write(
        &mut self,
        spec: &ValidSpec,
        stored: Option<&State>,
        state: State,
    ) -> Result<(), String> {
        let rendered = children(spec, None, &self.owner, &state).map_err(|it| it.to_string())?;
        let mut failed: Vec<ChildKind> = Vec::new();
        for write in self.sequence() {
            if failed.iter().any(|child| write.behind.contains(child)) {
                continue;
            }
            let is_wanted = match write.child {
                ChildKind::State => stored != Some(&state),
                child => self.store.differs(child, &rendered),
            };
            if is_wanted && self.is_refused(write.child) {
                failed.push(write.child);
            } else if is_wanted && self.may_write() {
                if write.child == ChildKind::State {
                    self.history.push(state.clone());
                    self.store.state = Some(state.clone());
                } else {
                    self.store.put(write.child, &rendered);
                }
                self.check_order(write.child)?;
            }
            if !self.running {
                return Ok(());
            }
        }
        if failed.contains(&ChildKind::State) {
            // What is not stored is not remembered.
            return Ok(());
        }
        self.restored = false;
        self.remembered = Some(state.clone());
        if self.handled != state.handled && self.may_write() {
            self.handled = state.handled;
        }
        Ok(())
    }

    fn sequence(&self) -> Vec<Write> {
        let mut sequence = SEQUENCE.to_vec();
        match self.mutant {
            Mutant::StateLast => sequence.rotate_left(1),
            Mutant::ScrapersFirst => sequence.rotate_right(1),
            _ => return sequence,
        }
        for write in &mut sequence {
            write.behind = &[];
        }
        sequence
    }

    /// The state is written ahead of what follows from it, and scrapers are never told of what exporters were not given.
    fn check_order(&self, written: ChildKind) -> Result<(), String> {
        let stored = self
            .store
            .state
            .as_ref()
            .map_or(0, |state| state.generation);
        let published = self.store.published().generation();
        if published > stored && !self.restored {
            return Err(format!(
                "{written:?} of {published} is written ahead of {stored}"
            ));
        }
        if written != ChildKind::Scrape {
            return Ok(());
        }
        let (served, given) = (self.store.served(), self.store.given());
        let (Some(served), Some(given)) = (served, given) else {
            return Err("scrapers are told of what no exporter is given".to_owned());
        };
        if served.end <= self.now {
            return Ok(());
        }
        let met = served.meets(&given, self.now);
        met.map_err(|why| format!("scrapers are told of what exporters are not given: {why}"))
    }

    fn is_refused(&self, child: ChildKind) -> bool {
        self.refused
            .is_some_and(|(refused, end)| refused == child && self.now < end)
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
                _ => matches!(
                    step,
                    Step::Leaf(LeafStep::Issue {
                        because: Because::Requested
                    })
                ),
            };
            if self.handled.get(subject.name()) == Some(token) && steps.iter().any(acts) {
                return Err(format!("{token} is acted on again"));
            }
        }
        Ok(())
    }

    fn may_write(&mut self) -> bool {
        match self.kill_after {
            Some(0) => {
                self.kill_after = None;
                self.running = false;
                self.back = self.now + self.roll(LONGEST_ABSENCE);
                self.remembered = None;
                false
            }
            Some(left) => {
                self.kill_after = Some(left - 1);
                true
            }
            None => true,
        }
    }

    /// The exporters of the present DaemonSet, each with its node.
    fn exporters(&self, known: Option<&State>) -> Vec<(usize, Exporter)> {
        let nodes = self.nodes.iter().enumerate();
        let ours = nodes.filter(|(_, node)| node.daemon_set == self.daemon_set);
        ours.map(|(index, node)| {
            let exporter = Exporter {
                node: node.name.to_string(),
                ready: matches!(node.health, Health::Well | Health::Deaf),
                answer: known.and_then(|state| self.answer(node, state)),
                silent_for: self.now.duration_since(node.heard),
            };
            (index, exporter)
        })
        .collect()
    }

    fn answer(&self, node: &Node, state: &State) -> Option<Answer> {
        let verified_by: BTreeSet<u64> = state
            .authorities
            .iter()
            .filter(|(_, authority)| node.served.is_verified_by(&authority.certificate_pem))
            .map(|(generation, _)| *generation)
            .collect();
        let reached = matches!(node.health, Health::Well | Health::Frozen);
        let presented = state.client.as_ref();
        let presented = presented.map(|client| Chain::of(&client.certificate_pem));
        let admitted = node.served.admits(presented.as_ref(), self.now).is_ok();
        if !reached || verified_by.is_empty() || node.served.end <= self.now || !admitted {
            return None;
        }
        let ago = |hash: &String| {
            node.used
                .get(hash)
                .map(|used| self.now.duration_since(*used))
        };
        // As the real one is asked with the password that is published, which it may refuse.
        let active = state.passwords.get(&state.active_password);
        let is_refused =
            active.is_some_and(|active| node.served.hash_of(&active.password).is_none());
        let accepted = node.served.hashes.iter();
        let accepted = accepted.map(|hash| (published::id(hash), ago(hash)));
        Some(Answer {
            serial_number: node.served.chain.serial_number.clone(),
            verified_by,
            accepted: (!is_refused).then(|| accepted.collect()),
            uptime: self.now.duration_since(node.started),
        })
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
