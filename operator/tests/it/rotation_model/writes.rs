//! The writes of a pass, by the list that the real one goes by, and the rules that hold for each of them.

use secure_exporter_operator::{
    apply::sequence::{SEQUENCE, Write},
    names::ChildKind,
    render::{Children, children},
    rotation::recall::{Memory, Stored},
    spec::ValidSpec,
    supplied::cert_manager::Asked,
};

use super::{LONGEST_ABSENCE, Mutant, World, distrust::Distrusted, reads::Read};

/// What a pass wants to be stored.
pub struct Wanted<'a> {
    pub spec: &'a ValidSpec,
    pub read: &'a Read,
    pub requests: &'a Asked,
    pub stored: Stored,
    pub memory: Memory,
    pub distrusted: Option<Distrusted>,
}

enum Outcome {
    Done,
    Failed,
    Died,
}

impl World {
    /// # Errors
    /// A write breaks a rule.
    pub(super) fn write(&mut self, mut wanted: Wanted<'_>) -> Result<(), String> {
        let state = wanted.stored.state.as_ref();
        let render = |state| children(wanted.spec, None, &self.owner, state);
        let rendered = state.map(render).transpose();
        let rendered = rendered.map_err(|error| error.to_string())?;
        if self.mutant == Mutant::RequestFirst {
            self.write_requests(&wanted)?;
            if !self.running {
                return Ok(());
            }
        }
        let mut failed: Vec<ChildKind> = Vec::new();
        for write in self.sequence() {
            if write.is_held(&failed) {
                continue;
            }
            match self.write_one(write.child, &mut wanted, rendered.as_ref())? {
                Outcome::Done => {}
                Outcome::Failed => failed.push(write.child),
                Outcome::Died => return Ok(()),
            }
        }
        if failed.contains(&ChildKind::State) {
            // What is not stored is not remembered.
            return Ok(());
        }
        self.restored = false;
        self.memory = Some(wanted.memory.clone());
        self.write_requests(&wanted)?;
        let handled = wanted.stored.state.map(|state| state.handled);
        let is_unpublished = |child| failed.contains(&child);
        if is_unpublished(ChildKind::Server) || is_unpublished(ChildKind::Scrape) {
            // As the real status does not: a state that is lost now has done nothing.
            if self.mutant != Mutant::HandledUnpublished {
                return Ok(());
            }
        }
        if let Some(handled) = handled
            && self.running
            && self.handled != handled
            && self.may_write()
        {
            self.handled = handled;
        }
        Ok(())
    }

    fn write_one(
        &mut self,
        child: ChildKind,
        wanted: &mut Wanted<'_>,
        rendered: Option<&Children>,
    ) -> Result<Outcome, String> {
        let read = wanted.read;
        if read.is_unread(child) {
            return Ok(Outcome::Failed);
        }
        let is_wanted = match child {
            ChildKind::State => {
                let nothing = Stored::default();
                read.state.object().unwrap_or(&nothing) != &wanted.stored
            }
            child => rendered.is_some_and(|rendered| read.differs(child, rendered)),
        };
        if !is_wanted {
            return Ok(Outcome::Done);
        }
        let generation = wanted.stored.state.as_ref();
        let generation = generation.map_or(0, |state| state.generation);
        let is_older = read.generation(child) > generation;
        if is_older || self.is_refused(child) || !self.is_current(child, wanted, rendered) {
            return Ok(Outcome::Failed);
        }
        if !self.may_write() {
            return Ok(Outcome::Died);
        }
        if child == ChildKind::State {
            self.check_kept(&wanted.stored)?;
            self.history.push(wanted.stored.clone());
            self.store.state.set(Some(wanted.stored.clone()));
            if let Some(distrusted) = wanted.distrusted.take() {
                self.distrusted.extend(distrusted, generation);
            }
        } else if let Some(rendered) = rendered {
            self.store.put(child, rendered)?;
        }
        self.check_order(child)?;
        Ok(Outcome::Done)
    }

    /// Whether the API server accepts a write of the version that was read.
    fn is_current(
        &self,
        child: ChildKind,
        wanted: &Wanted<'_>,
        rendered: Option<&Children>,
    ) -> bool {
        // What exists already as it should be created is no conflict.
        let is_there = match child {
            ChildKind::State => self.store.state.get() == Some(&wanted.stored),
            child => rendered.is_some_and(|it| !self.store.differs(child, it)),
        };
        self.mutant == Mutant::BlindWrites || is_there || self.store.is_as(child, wanted.read)
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

    /// No key is lost or made twice by a write over a state that the operator has not seen.
    fn check_kept(&self, next: &Stored) -> Result<(), String> {
        let before = self.store.state.get();
        Self::check_patience(before.and_then(|it| it.order.as_ref()), next.order.as_ref())?;
        let before = before.and_then(|it| it.state.as_ref());
        let (Some(before), Some(next)) = (before, &next.state) else {
            return Ok(());
        };
        if self.restored {
            return Ok(());
        }
        for (generation, authority) in &before.authorities {
            let Some(kept) = next.authorities.get(generation) else {
                continue;
            };
            if kept.certificate_pem != authority.certificate_pem {
                return Err(format!("CA {generation} is made twice"));
            }
            if authority.key_pem.is_some() && kept.key_pem.is_none() {
                return Err(format!("the key of CA {generation} is lost"));
            }
        }
        Ok(())
    }

    /// The state is written ahead of what follows from it, and scrapers are never told of what exporters were not given.
    fn check_order(&self, written: ChildKind) -> Result<(), String> {
        let stored = self.store.state().map_or(0, |state| state.generation);
        let published = self.store.published().generation();
        if published > stored && !self.restored {
            return Err(format!(
                "{written:?} of {published} is written ahead of {stored}"
            ));
        }
        let (served, given) = (self.store.last_served(), self.store.given());
        match written {
            ChildKind::Server => served.map_or(Ok(()), |it| self.distrusted.check_served(it)),
            ChildKind::Scrape => {
                let (Some(served), Some(given)) = (served, given) else {
                    return Err("scrapers are told of what no exporter is given".to_owned());
                };
                self.distrusted.check_given(&given)?;
                if served.end <= self.now {
                    return Ok(());
                }
                let met = served.meets(&given, self.now);
                met.map_err(|why| {
                    format!("scrapers are told of what exporters are not given: {why}")
                })
            }
            _ => Ok(()),
        }
    }

    fn is_refused(&self, child: ChildKind) -> bool {
        self.refused
            .is_some_and(|(refused, end)| refused == child && self.now < end)
    }

    pub(super) fn may_write(&mut self) -> bool {
        match self.kill_after {
            Some(0) => {
                self.kill_after = None;
                self.running = false;
                self.back = self.now + self.roll(LONGEST_ABSENCE);
                self.memory = None;
                false
            }
            Some(left) => {
                self.kill_after = Some(left - 1);
                true
            }
            None => true,
        }
    }
}
