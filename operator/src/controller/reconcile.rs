//! One pass over one resource: parse → observe → recall → plan → carry out → apply → report.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::Resource;

use crate::{
    api::SecureExporter,
    apply::{Wanted, ownership::own},
    controller::{
        context::{Context, Remembered},
        pass::Pass,
        recall::recall,
        rest::resting,
        schedule::{AFTER_A_STEP, LONGEST_PAUSE, UNWATCHED_INTERVAL, pause, retry_after, until},
        stand_aside::stand_aside,
        supervision::BlockingWork,
        telling::{News, report, tell},
    },
    lease::Tenure,
    names::{ChildKind, Owner},
    observe::{self, children::Observed},
    render,
    report::{adopted::adopted, problem::Problem, seen::Served, status},
    rotation::{
        adoption::Adoption,
        annotations::read_handled,
        decide::next_assumption,
        evidence::Heard,
        order::Order,
        plan::{Circumstances, Issued, Next, carry_out, plan, rests_on_evidence},
        recall::{Known, Memory, Stored, depends_on_published, watched_since},
        spec_in_force::spec_in_force,
        state::{State, format::StateError},
        step::Step,
    },
    secret_object::SecretObject,
    spec::{ParsedSpec, ValidSpec, issuer::ValidIssuer},
    supplied::{cert_manager::Asked, certificate::Supply},
};

/// Runs and reports one pass, and returns when the next one is due; `None` if only a change of the resource can require one.
/// A pass never fails as a whole: problems are reported, and the rest is done.
pub(crate) async fn reconcile(
    resource: &SecureExporter,
    owner: &Owner,
    context: &Context,
    blocking: &BlockingWork,
) -> Option<Duration> {
    let begin = Instant::now();
    if resource.meta().deletion_timestamp.is_some() {
        return None;
    }
    let tenure = match context.leases.hold(&owner.namespace).await {
        Ok(Tenure::Elsewhere { holder }) => {
            return Some(stand_aside(resource, owner, context, &holder).await);
        }
        Ok(Tenure::Ours { since }) => Ok(since),
        Err(error) => Err(Problem::lease(&error)),
    };
    context.metrics.begun(owner, context.clock.now());
    if let Err(problem) = &tenure
        && problem.hides_holder()
    {
        // Until the API server answers again, it is not known who serves the namespace.
        context
            .metrics
            .passed(problem.category(), begin.elapsed().as_secs_f64());
        return Some(context.backoff.failed(&owner.uid));
    }
    if let Ok(since) = &tenure
        && let Some(pause) = resting(resource, owner, context, *since)
    {
        let seconds = begin.elapsed().as_secs_f64();
        context.metrics.rested(owner, context.clock.now());
        context.metrics.passed("Success", seconds);
        return Some(pause);
    }
    // Boxed, because it is large, and would be copied from one stack frame to the next.
    let served = Box::pin(serve(resource, owner, context, blocking, tenure));
    tokio::select! {
        (next, outcome) = served => {
            context
                .metrics
                .passed(outcome, begin.elapsed().as_secs_f64());
            Some(next)
        }
        // Another release writes now, so nothing more of this pass may be written.
        holder = context.leases.lost(&owner.namespace) => {
            Some(stand_aside(resource, owner, context, &holder).await)
        }
    }
}

/// Runs and reports a pass in a namespace that this release serves since `tenure`, and returns when the next one is due and the
/// outcome for the metrics.
async fn serve(
    resource: &SecureExporter,
    owner: &Owner,
    context: &Context,
    blocking: &BlockingWork,
    tenure: Result<Timestamp, Problem>,
) -> (Duration, &'static str) {
    // Before anything is read.
    let news = context.wakes.news(owner);
    let adoption = adoption(resource, owner);
    let adopts = adoption == Adoption::Allowed;
    let observed = observe::observe(&context.client, &context.pods, owner, adopts).await;
    let mut pass = Pass::begin(resource, owner, context, &observed, adoption, blocking);
    match tenure {
        Ok(since) => pass.ours_since = Some(since),
        // Where no other release holds the Lease, or only a user can make it readable, the pass continues, because an expired
        // certificate would be worse.
        Err(problem) => pass.problems.push(problem),
    }
    if let Err(problem) = pass.run().await {
        pass.problems.push(problem);
    }
    if pass.is_complete && !pass.is_settled && pass.problems.is_empty() {
        pass.due = pass.due.min(AFTER_A_STEP);
    }
    if !pass.is_watched() {
        pass.due = pass.due.min(UNWATCHED_INTERVAL);
    }
    match report(&pass).await {
        Ok(is_reported) => pass.begin_rest(news, is_reported),
        Err(error) => pass.problems.push(Problem::Apply(error)),
    }
    let outcome = pass.problems.first().map_or("Success", Problem::category);
    let retry = retry_after(&pass.problems, owner, context).unwrap_or(Duration::MAX);
    (pass.due.min(retry), outcome)
}

fn discovers(spec: &ValidSpec) -> bool {
    !spec.scrape.service_accounts.is_empty()
}

fn adoption(resource: &SecureExporter, owner: &Owner) -> Adoption {
    let status = resource.status.as_ref();
    let handled = status.map(|status| read_handled(&status.handled_requests));
    let annotations = resource.meta().annotations.as_ref();
    Adoption::read(annotations, &handled.unwrap_or_default(), owner)
}

impl Pass<'_> {
    /// Does what the resource asks for as far as possible. An error ends the pass, but it is still reported.
    async fn run(&mut self) -> Result<(), Problem> {
        let Some((spec, known)) = self.recall().await? else {
            return Ok(());
        };
        let Some((own, issued)) = self.read_supplied(&spec, &known).await? else {
            return Ok(());
        };
        let (requests, published) = (self.requests.clone(), self.observed.published());
        self.heard = self.hear();
        let heard = self.heard.clone().unwrap_or_default();
        let it = Circumstances {
            spec: &spec,
            owner: self.owner,
            requests: &requests,
            own: &own,
            issued: &issued,
            published: &published,
            heard: &heard,
            timers: &self.context.timers,
            now: self.now,
            clock_jumped: self.clock_jumped(),
            watched_since: self.watched_since(),
        };
        let planned = plan(&known, &it)?;
        let nothing = Heard::default();
        let (plan, it) = if !self.is_confirmed && rests_on_evidence(&planned, &known, &it)? {
            // The answers are from different times. Everybody is asked once more, and the next pass decides.
            self.context.prober.confirm(self.owner);
            let it = it.without_evidence(&nothing);
            (plan(&known, &it)?, it)
        } else {
            (planned, it)
        };
        self.supply = Some(plan.supply.clone());
        let next = self.make(&plan.steps, known.clone(), &spec).await?;
        let Some(stored) = self.apply(&spec, &known, &next, &issued).await? else {
            return Ok(());
        };
        self.is_complete = true;
        self.pod_monitor(&spec, next.state.is_some()).await;
        self.note_restorations();
        let restored = self.observed.adopted(discovers(&spec));
        let news = News {
            steps: &plan.steps,
            is_rebuilt: known.is_rebuilt,
            adopted: &adopted(restored, &self.problems, self.workload.is_some()),
        };
        tell(self, &news).await;
        let Some(state) = &next.state else {
            // There is nothing to serve before the first certificate.
            self.due = self.due_without_state(&next);
            return match &plan.supply {
                Supply::External(Err(problem)) if !problem.is_passing() => {
                    Err(Problem::IssuerNotReady(problem.clone()))
                }
                _ => Ok(()),
            };
        };
        let outlook = plan.outlook(&known, (state, next.order.as_ref()), &it)?;
        self.waiting = outlook.waiting;
        // What is wrong with a certificate may also change with time.
        let is_watched = self.context.dependents.are_watched(self.owner)
            && !matches!(plan.supply, Supply::External(Err(_)));
        let timers = &self.context.timers;
        self.due = if stored == known.stored {
            let assumed = next_assumption(state, &spec, &heard, timers, self.now);
            let deadline = outlook.deadline.min(assumed.unwrap_or(Timestamp::MAX));
            self.idle_until = Some(deadline);
            pause(deadline, self.now, is_watched, timers)
        } else {
            AFTER_A_STEP
        };
        self.direct_prober(state, &spec)
    }

    /// The spec to go by, and what is known; `None` where no spec was ever accepted.
    async fn recall(&mut self) -> Result<Option<(ValidSpec, Known)>, Problem> {
        let (owner, observed) = (self.owner, self.observed);
        let stored = stored(observed, owner);
        let stored_state = stored.as_ref().ok().and_then(|it| it.state.as_ref());
        let remembered = self.memory.as_ref().and_then(|it| it.stored.state.as_ref());
        let asked = ParsedSpec::parse(&self.resource.spec, owner, &self.context.policy);
        self.spec = spec_in_force(
            asked.as_ref().ok().map(|asked| &asked.spec),
            stored_state,
            remembered,
            &observed.published(),
            (&self.resource.spec, owner),
        );
        self.state = stored_state.or(remembered).cloned();
        self.note_asked(asked);
        let unread = observed.complaints.iter().flat_map(|read| &read.unread);
        for (what, source) in unread {
            self.problems.push(Problem::read(*what, source));
        }
        let stored = stored?;
        let Some(spec) = self.spec.clone() else {
            return Ok(None);
        };
        let mut known = recall(
            stored,
            self.memory.as_ref(),
            &observed.published(),
            read_handled(&self.previous.handled_requests),
            &spec,
            self.now,
            self.blocking,
        )
        .await?;
        if depends_on_published(&known, self.memory.as_ref()) {
            check_readable(observed, owner)?;
        }
        // The permission is used up when everything restored has its owner.
        if let Some(state) = &mut known.state
            && observed.is_read()
            && observed.adopted(discovers(&spec)).is_empty()
        {
            self.adoption.remember(owner, &mut state.handled);
        }
        self.state.clone_from(&known.state);
        self.note_certificates(&spec)?;
        Ok(Some((spec, known)))
    }

    fn note_asked(&mut self, asked: Result<ParsedSpec, crate::spec::SpecError>) {
        match asked {
            Ok(ParsedSpec {
                workload: Ok(workload),
                ..
            }) => self.workload = Some(workload),
            Ok(ParsedSpec {
                workload: Err(refused),
                ..
            }) => self.problems.push(Problem::Workload(refused)),
            Err(error) if self.spec.is_some() => self.problems.push(Problem::Spec(error)),
            Err(error) => self.problems.push(Problem::FirstSpec(error)),
        }
    }

    /// Called before anything that may fail or take long, so that alerts have their series and the next renewal is not
    /// missed.
    fn note_certificates(&mut self, spec: &ValidSpec) -> Result<(), Problem> {
        let Some(state) = &self.state else {
            return Ok(());
        };
        let served = Served { spec, state };
        let (certificate, client) = status::certificates(&served, self.owner)?;
        let metrics = &self.context.metrics;
        metrics.certificates(self.owner, &certificate, client.as_ref());
        // One that is due already is tried again by the backoff.
        let renewal = certificate.renewal_time.0;
        if renewal > self.now {
            self.due = until(renewal, self.now).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Generates keys and hashes outside the async workers.
    async fn make(&self, steps: &[Step], known: Known, spec: &ValidSpec) -> Result<Next, Problem> {
        let (steps, spec, owner, now) =
            (steps.to_vec(), spec.clone(), self.owner.clone(), self.now);
        self.blocking
            .run(move || carry_out(&steps, known, &spec, &owner, now))
            .await
            .map_err(|_| Problem::Interrupted)?
            .map_err(Problem::Rotation)
    }

    /// Writes the state before everything that depends on it, and then each generated object that differs. Returns what is
    /// stored now; `None` if it could not be stored, so that nothing has changed.
    async fn apply(
        &mut self,
        spec: &ValidSpec,
        known: &Known,
        next: &Next,
        issued: &Issued,
    ) -> Result<Option<Stored>, Problem> {
        let kept_order = self.withdraw_order(spec, known, next, issued).await;
        let (owner, observed, writer) = (self.owner, self.observed, self.context.writer());
        let children = next.state.as_ref().and_then(|state| {
            let rendered = render::children(spec, self.workload.as_ref(), owner, state);
            // The state is stored all the same: the way out of it is planned from there.
            let problem = |error| self.problems.push(Problem::Render(error));
            rendered.map_err(problem).ok()
        });
        let stored = Stored {
            state: next.state.clone(),
            order: kept_order.or_else(|| next.order.clone()),
        };
        let is_changed = stored != known.stored || observed.state.is_adopted();
        let wanted = Wanted {
            state: is_changed.then(|| {
                let (state, order) = (stored.state.as_ref(), stored.order.as_ref());
                SecretObject::new(render::state_secret(owner, state, order))
            }),
            children,
        };
        let failed = writer.write(&wanted, observed).await;
        let is_stored = !failed.iter().any(|(child, _)| *child == ChildKind::State);
        let is_whole = failed.is_empty();
        let failed = failed.into_iter();
        self.problems
            .extend(failed.map(|(child, source)| Problem::child(child, source)));
        if !is_stored {
            return Ok(None);
        }
        self.state.clone_from(&stored.state);
        let memory = Memory {
            stored: stored.clone(),
            last_ordered: next.last_ordered,
            clock_jumps: self.clock_jumps,
            watched_since: self.watched_since(),
        };
        let remembered = Remembered {
            owner: owner.clone(),
            memory,
            written_for: self.resource.meta().generation.filter(|_| is_whole),
        };
        self.context
            .remembered()
            .insert(owner.uid.clone(), remembered);
        if let ValidIssuer::CertManager { issuer, .. } = &spec.issuer {
            let order = next.order.as_ref();
            let wanted = order.map(|it| render::certificate_request(spec, owner, issuer, it));
            let asked = writer.certificate_requests(wanted, &issued.requests).await;
            self.problems.extend(asked.err().map(Problem::from));
        }
        Ok(Some(stored))
    }

    /// Deletes the CertificateRequests if the issuer is no cert-manager issuer any more. Returns the order if they could not
    /// be deleted: once it is forgotten, nothing looks for them.
    async fn withdraw_order(
        &mut self,
        spec: &ValidSpec,
        known: &Known,
        next: &Next,
        issued: &Issued,
    ) -> Option<Order> {
        let is_of_cert_manager = matches!(spec.issuer, ValidIssuer::CertManager { .. });
        let order = known.order.clone()?;
        if is_of_cert_manager || next.order.is_some() {
            return None;
        }
        if matches!(issued.requests, Asked::Unread(_)) {
            return Some(order);
        }
        let writer = self.context.writer();
        let deleted = writer.certificate_requests(None, &issued.requests).await;
        let error = deleted.err()?;
        self.problems.push(error.into());
        Some(order)
    }

    /// Notes what other clients deleted or changed, and was restored.
    fn note_restorations(&mut self) {
        let restorations = &self.context.repairs.restorations;
        let taken = restorations.take(&self.owner.uid, Instant::now());
        self.restored = taken.new;
        let repeated = taken.repeated.into_iter().map(Problem::Repeated);
        self.problems.extend(repeated);
    }

    fn clock_jumped(&self) -> bool {
        let memory = self.memory.as_ref();
        memory.is_some_and(|memory| memory.precedes_jump(self.clock_jumps))
    }

    fn watched_since(&self) -> Timestamp {
        watched_since(self.memory.as_ref(), self.clock_jumps, self.now)
    }

    /// When the first certificate may have been issued.
    fn due_without_state(&self, next: &Next) -> Duration {
        let timers = &self.context.timers;
        let patience = next.order.as_ref().map(|it| it.patience(timers, self.now));
        patience.map_or(LONGEST_PAUSE, |patience| patience.unsigned_abs())
    }
}

/// Checks that every object could be read from which the state can be rebuilt.
fn check_readable(observed: &Observed, owner: &Owner) -> Result<(), Problem> {
    use crate::apply::error::ApplyError;
    let check = |child, found: Result<(), ApplyError>| match found {
        Err(source @ ApplyError::Unread { .. }) => Err(Problem::child(child, source)),
        _ => Ok(()),
    };
    let (server, scrape) = (owner.server_secret(), owner.scrape_secret());
    check(ChildKind::Server, own(&observed.server, &server).map(drop))?;
    check(ChildKind::Scrape, own(&observed.scrape, &scrape).map(drop))
}

/// Returns the stored state. An error forbids every write, because what is unknown must not be overwritten.
fn stored(observed: &Observed, owner: &Owner) -> Result<Stored, Problem> {
    let secret = own(&observed.state, &owner.state_secret())
        .map_err(|source| Problem::child(ChildKind::State, source))?;
    let Some(secret) = secret else {
        return Ok(Stored::default());
    };
    let nothing = Default::default();
    read_stored(secret.data.as_ref().unwrap_or(&nothing), owner)
}

fn read_stored(data: &BTreeMap<String, ByteString>, owner: &Owner) -> Result<Stored, Problem> {
    if data.is_empty() {
        // An order was withdrawn before there was a certificate, or everything in it was deleted.
        return Ok(Stored::default());
    }
    let damaged = |source: StateError| Problem::State {
        name: owner.state_secret(),
        server: owner.server_secret(),
        scrape: owner.scrape_secret(),
        source,
    };
    let order = Order::from_data(data).map_err(damaged)?;
    let state = if Order::is_alone_in(data) {
        None
    } else {
        Some(State::from_data(data).map_err(damaged)?)
    };
    Ok(Stored { state, order })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_secret_is_no_damaged_state() {
        let owner = Owner::nodes();
        let stored = read_stored(&BTreeMap::new(), &owner).unwrap();
        assert_eq!(stored, Stored::default());
        let damaged = BTreeMap::from([("ca-1.crt".to_owned(), ByteString(Vec::new()))]);
        assert!(matches!(
            read_stored(&damaged, &owner),
            Err(Problem::State { .. })
        ));
    }
}
