//! What the operator of the model hears of the exporters.

use std::collections::BTreeSet;

use secure_exporter_operator::rotation::{
    evidence::{Answer, Exporter, Heard},
    state::State,
};

use super::{
    Health, Node, World,
    published::{self, Chain},
    reads::Unreadable,
};

impl World {
    pub(super) fn hear(&mut self, known: Option<&State>) -> Heard {
        if self.is_unread(Unreadable::Pods) {
            return Heard::default();
        }
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
