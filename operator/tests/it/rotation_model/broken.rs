//! The steps of machines that are broken on purpose.

use secure_exporter_operator::{
    rotation::{
        annotations::Subject,
        because::Because,
        order::{Order, OrderStep},
        recall::Known,
        state::{AuthorityStage, Leaf, State},
        step::{AuthorityStep, ClientStep, LeafStep, PasswordStep, RequestStep, Step},
    },
    supplied::{cert_manager::Asked, certificate::Supply},
};

use super::{Mutant, World};

impl World {
    pub(super) fn break_steps(
        &self,
        known: &Known,
        supply: &Supply,
        requests: &Asked,
        steps: &mut Vec<Step>,
    ) {
        self.break_orders(known.order.as_ref(), requests, steps);
        let known = known.state.as_ref();
        self.break_distrust(known, steps);
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

    fn break_orders(&self, order: Option<&Order>, requests: &Asked, steps: &mut Vec<Step>) {
        let Some(order) = order else {
            return;
        };
        let is_ordered = |step: &Step| {
            matches!(
                step,
                Step::Order(OrderStep::Ask { .. } | OrderStep::Withdraw)
                    | Step::Leaf(LeafStep::Serve { .. })
            )
        };
        match self.mutant {
            Mutant::NeverOrdersAgain => steps.retain(|step| {
                let because = Because::Refused;
                !matches!(step, Step::Order(OrderStep::Ask { because: it, .. }) if *it == because)
            }),
            Mutant::OrdersAnew if !steps.iter().any(is_ordered) && order.refused.is_none() => {
                steps.push(Step::Order(OrderStep::Ask {
                    because: Because::Due,
                    attempt: order.attempt,
                    parameters: order.parameters.clone(),
                }));
            }
            _ => {}
        }
        if let Some(certificate_pem) = self.other_answer(order, requests) {
            steps.push(Step::Leaf(LeafStep::Serve {
                leaf: Leaf {
                    certificate_pem,
                    key_pem: order.signing.key_pem.clone(),
                    authority_generation: 1,
                    parameters: order.parameters.clone(),
                },
            }));
        }
    }

    fn break_distrust(&self, known: Option<&State>, steps: &mut Vec<Step>) {
        let all = Subject::DistrustAll;
        if self.mutant == Mutant::ForgetsLeakedPassword
            && let Some(known) = known
            && self.requests.is_pending(all, &known.handled)
        {
            let token = self.requests.token(all).to_owned();
            let subject = all;
            steps.push(Step::Request(RequestStep::Remember { subject, token }));
        }
        if self.mutant != Mutant::DistrustOverlaps {
            return;
        }
        let because = Because::NewAuthority;
        let replaces = |step: &Step| matches!(step, Step::Authority(AuthorityStep::Replace { .. }));
        if steps.iter().any(replaces) {
            steps.retain(|step| {
                *step != Step::Leaf(LeafStep::Issue { because })
                    && *step != Step::Client(ClientStep::Issue { because })
            });
        }
        for step in steps.iter_mut() {
            match step {
                Step::Authority(AuthorityStep::Replace { generation }) => {
                    let generation = *generation;
                    *step = Step::Authority(AuthorityStep::Prepare { generation });
                }
                Step::Password(PasswordStep::Replace { generation, own }) => {
                    let (generation, own) = (*generation, own.take());
                    *step = Step::Password(PasswordStep::Prepare { generation, own });
                }
                _ => {}
            }
        }
    }
}
