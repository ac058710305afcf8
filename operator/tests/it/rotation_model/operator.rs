//! The operator of the model: one pass in the order in which the real one writes, and what it hears of the exporters. Here
//! it is broken on purpose, too.

use std::collections::{BTreeMap, BTreeSet};

use secure_exporter_operator::{
    render::children,
    rotation::{
        annotations::Subject,
        carry_out::carry_out,
        decide,
        evidence::{Answer, Exporter},
        situation::Situation,
        state::{AuthorityStage, Leaf, State, rebuild::current_state},
        step::{Because, Step},
    },
    supplied::{
        certificate::Supply,
        credentials::{Own, Users},
    },
};

use super::{
    Health, LONGEST_ABSENCE, Mutant, Node, World,
    published::{self, Chain},
};

impl World {
    /// One pass, in the order in which the real one writes.
    pub(super) fn operate(&mut self) -> Result<(), String> {
        let now = self.now + self.clock_offset;
        let stored = self.store.state.clone();
        let published = self.store.published();
        let nothing = BTreeMap::new();
        let (known, _) = if self.mutant == Mutant::BelievesBackups && stored.is_some() {
            (stored.clone(), false)
        } else {
            let remembered = self.remembered.as_ref();
            current_state(
                stored.as_ref(),
                remembered,
                &published,
                match self.mutant {
                    Mutant::ForgetsRequests => &nothing,
                    _ => &self.handled,
                },
                &self.spec,
                now,
            )
        };
        let known = match self.mutant {
            Mutant::TimersFromIntent => known.map(confirmed_by_intent),
            _ => known,
        };
        let exporters = self.exporters(known.as_ref());
        for (node, exporter) in self.nodes.iter_mut().zip(&exporters) {
            if exporter.answer.is_some() || !exporter.ready {
                node.heard = self.now;
            }
        }
        let is_published = stored
            .as_ref()
            .is_some_and(|state| self.store.shows(&self.spec, &self.owner, state));
        let supply = self.supply();
        let mut own = self.own_credentials();
        if self.mutant == Mutant::UsersEndWithSecret && own.users.problem().is_some() {
            own.users = Own::Usable(Users::new());
        }
        let situation = Situation {
            spec: &self.spec,
            requests: &self.requests,
            own: &own,
            supply: &supply,
            uid: &self.owner.uid,
            published: is_published,
            exporters: &exporters,
            timers: &self.timers,
            now,
            clock_jumped: self.jumped && self.mutant != Mutant::BelievesJumps,
        };
        self.jumped = false;
        let mut steps =
            decide::decide(known.as_ref(), &situation).map_err(|error| error.to_string())?;
        if self.mutant == Mutant::LeafQueues
            && known.as_ref().is_some_and(|state| {
                state.authority_progress.is_some() || state.password_progress.is_some()
            })
            && !steps.contains(&Step::SwitchAuthority)
        {
            steps.retain(|step| !matches!(step, Step::IssueLeaf { .. }));
        }
        self.check_requests(&steps)?;
        if self.mutant == Mutant::OwnPasswordAtOnce
            && steps
                .iter()
                .any(|step| matches!(step, Step::PreparePassword { own: Some(_), .. }))
        {
            steps.push(Step::SwitchPassword);
        }
        self.break_clients(known.as_ref(), &mut steps);
        self.break_supply(known.as_ref(), &supply, &mut steps);
        let mut state = known.clone();
        if !steps.is_empty() || state.is_none() {
            let carried = carry_out(&steps, known, &self.spec, &self.owner, now);
            state = Some(carried.map_err(|error| error.to_string())?);
        }
        let mut state = state.ok_or("no state")?;
        if self.mutant == Mutant::NoCross {
            state.leaf.certificate_pem = published::first_certificate(&state.leaf.certificate_pem);
        }
        if let (Mutant::NoClientCross, Some(client)) = (self.mutant, &mut state.client) {
            client.certificate_pem = published::first_certificate(&client.certificate_pem);
        }
        self.write(stored.as_ref(), state)
    }

    fn break_clients(&self, known: Option<&State>, steps: &mut Vec<Step>) {
        let has_client = known.is_some_and(|state| state.client.is_some());
        let switches = steps.contains(&Step::SwitchAuthority);
        let issues = |step: &Step| matches!(step, Step::IssueClient { .. });
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
            Mutant::ClientStays if steps.contains(&Step::SwitchClient) => {
                *steps = vec![Step::DropAuthorities];
            }
            Mutant::ClientJumps if switches && has_client && !steps.iter().any(issues) => {
                let because = Because::NewAuthority;
                steps.push(Step::IssueClient { because });
            }
            _ => {}
        }
    }

    fn break_supply(&self, known: Option<&State>, supply: &Supply, steps: &mut Vec<Step>) {
        let (Some(state), Supply::External(Ok(supplied))) = (known, supply) else {
            return;
        };
        let prepared = steps.iter().find_map(|step| match step {
            Step::PrepareBundle { generation, .. } => Some(*generation),
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
            steps
                .retain(|step| !matches!(step, Step::ServeSupplied { .. } | Step::SwitchAuthority));
            steps.extend([
                Step::SwitchAuthority,
                Step::ServeSupplied {
                    leaf: Leaf {
                        certificate_pem: supplied.chain_pem.clone(),
                        key_pem: supplied.key_pem.clone(),
                        authority_generation: generation,
                        parameters: String::new(),
                    },
                },
            ]);
        }
    }

    /// What the operator reads now.
    pub(super) fn supply(&self) -> Supply {
        match (&self.issuer, self.spec.issuer.is_managed()) {
            (Some(issuer), false) => Supply::External(issuer.checked(&self.spec, self.now)),
            _ => Supply::Managed,
        }
    }

    fn write(&mut self, stored: Option<&State>, state: State) -> Result<(), String> {
        let rendered =
            children(&self.spec, None, &self.owner, &state).map_err(|it| it.to_string())?;
        if stored != Some(&state) && self.may_write() {
            self.history.push(state.clone());
            self.store.state = Some(state.clone());
        }
        if !self.running {
            return Ok(());
        }
        self.restored = false;
        self.remembered = Some(state.clone());
        for object in 0..3 {
            if self.store.differs(object, &rendered) && self.may_write() {
                self.store.put(object, &rendered);
            }
            if !self.running {
                return Ok(());
            }
        }
        if self.handled != state.handled && self.may_write() {
            self.handled = state.handled;
        }
        Ok(())
    }

    /// What the status says was done is not done again.
    fn check_requests(&self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            let Step::Remember { subject, token } = step else {
                continue;
            };
            let acts = |step: &Step| match subject {
                Subject::Password => matches!(step, Step::PreparePassword { own: None, .. }),
                Subject::Authority => matches!(step, Step::PrepareAuthority { .. }),
                _ => matches!(
                    step,
                    Step::IssueLeaf {
                        because: Because::Requested
                    }
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

    fn exporters(&self, known: Option<&State>) -> Vec<Exporter> {
        if self.mutant == Mutant::NoEvidence {
            return Vec::new();
        }
        let nodes = self.nodes.iter().enumerate();
        nodes
            .map(|(index, node)| Exporter {
                node: index.to_string(),
                ready: matches!(node.health, Health::Well | Health::Deaf),
                answer: known.and_then(|state| self.answer(node, state)),
                silent_for: self.now.duration_since(node.heard),
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
        Some(Answer {
            serial_number: node.served.chain.serial_number.clone(),
            verified_by,
            accepted: node
                .served
                .hashes
                .iter()
                .map(|hash| (published::id(hash), ago(hash)))
                .collect(),
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
