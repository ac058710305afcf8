//! The part of a pass that is about an issuer of cert-manager: to ask, to look for the answer, and to clear away what was
//! answered.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    api::{IssuerRef, SecureExporter},
    apply::{Writer, error::ApplyError},
    controller::context::Context,
    names::{ChildKind, Owner},
    observe::{
        certificate_requests::{Asked, certificate_requests},
        children::Observed,
        supplied::find,
    },
    render,
    report::problem::Problem,
    rotation::{
        annotations::{Requests, Subject},
        carry_out::RotationError,
        order::{LeafRequest, RequestStep, carry_out, cert_manager::Correspondence},
        state::State,
    },
    spec::{
        ValidSpec,
        issuer::{Place, ValidIssuer},
    },
    supplied::{
        cert_manager::CertificateRequest,
        certificate::{Found, Supply},
    },
};
use secure_exporter_pki::InspectError;

/// What was read of an issuer of cert-manager and of what it was asked. Nothing is read, and nothing is there, where none
/// is asked and no request of before is left.
pub(crate) struct Desk<'a> {
    context: &'a Context,
    spec: &'a ValidSpec,
    owner: &'a Owner,
    issuer: Option<&'a IssuerRef>,
    bundle: Option<Found>,
    asked: Asked,
    last_asked: Option<Timestamp>,
    /// What could not be read.
    pub problem: Option<Problem>,
    /// What is asked for.
    pub request: Option<LeafRequest>,
}

impl<'a> Desk<'a> {
    /// Reads it.
    pub(crate) async fn read(
        context: &'a Context,
        spec: &'a ValidSpec,
        owner: &'a Owner,
        request: Option<LeafRequest>,
        last_asked: Option<Timestamp>,
    ) -> Self {
        let (issuer, place) = match &spec.issuer {
            ValidIssuer::CertManager { issuer, bundle } => (Some(issuer), bundle.as_ref()),
            _ => (None, None),
        };
        let mut desk = Self {
            context,
            spec,
            owner,
            issuer,
            bundle: None,
            asked: Asked::Open(Vec::new()),
            last_asked,
            problem: None,
            request,
        };
        if let Err(source) = desk.read_all(place).await {
            let problem = Problem::read("what cert-manager was asked", &source);
            desk.asked = Asked::Unread(problem.to_string());
            desk.problem = Some(problem);
        }
        desk
    }

    async fn read_all(&mut self, place: Option<&Place>) -> Result<(), kube::Error> {
        let client = &self.context.client;
        if let Some(place) = place {
            self.bundle = Some(find(client, &self.owner.namespace, place).await?);
        }
        if self.issuer.is_some() || self.request.is_some() {
            self.asked = certificate_requests(client, self.owner).await?;
        }
        Ok(())
    }

    /// What happens to the request, and what the machine is to go by; `None` where no issuer is asked.
    pub(crate) fn look(
        &self,
        state: Option<&State>,
        requests: &Requests,
        now: Timestamp,
    ) -> Result<(Option<RequestStep>, Option<Supply>), InspectError> {
        let Some(correspondence) = self.correspondence(now) else {
            return Ok((self.request.as_ref().map(|_| RequestStep::Withdraw), None));
        };
        let outcome = self.request.as_ref().map(|request| {
            let outcome = correspondence.outcome(request);
            (request, outcome)
        });
        let step = correspondence.step(outcome.as_ref(), state, requests)?;
        Ok((step, Some(correspondence.supply(outcome, state))))
    }

    /// Stores what `step` makes of the request, with what was asked for by annotation, and only then asks. What follows
    /// from it is for the next pass.
    pub(crate) async fn change(
        &mut self,
        step: &RequestStep,
        mut state: Option<State>,
        requests: &Requests,
        observed: &Observed,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let parameters = self.correspondence(now).map(|it| it.parameters());
        let (carried, request) = (step.clone(), self.request.take());
        let leaf = self.spec.certificate.parameters.clone();
        let made = tokio::task::spawn_blocking(move || {
            carry_out(
                &carried,
                request,
                (&leaf, parameters.unwrap_or_default()),
                now,
            )
        });
        self.request = made
            .await
            .map_err(|_| Problem::Interrupted)?
            .map_err(RotationError::from)?;
        if let Some(state) = &mut state {
            remember(step, state, requests);
        }
        let secret = render::state_secret(self.owner, state.as_ref(), self.request.as_ref());
        let writer = self.writer();
        let written = writer.state(secret, &observed.state).await;
        written.map_err(|source| Problem::child(ChildKind::State, source))?;
        if let Some(state) = state {
            let mut remembered = self.context.remembered();
            remembered.entry(self.owner.uid.clone()).and_modify(|it| {
                it.state = state;
                it.asked = Some(now);
                it.request.clone_from(&self.request);
            });
        }
        Ok(self.tidy().await?)
    }

    /// Lets go of a request whose answer is the leaf of `state`.
    pub(crate) fn close(&mut self, state: &State) {
        self.request = self
            .request
            .take()
            .filter(|request| !request.is_answered(state));
    }

    /// Asks what is stored and is not asked, and removes everything else that was asked.
    pub(crate) async fn tidy(&mut self) -> Result<(), ApplyError> {
        let writer = self.writer();
        let wanted = self
            .issuer
            .zip(self.request.as_ref())
            .map(|(issuer, request)| {
                render::certificate_request(self.spec, self.owner, issuer, request)
            });
        let Asked::Open(all) = &mut self.asked else {
            return Ok(());
        };
        let is_wanted = |one: &CertificateRequest| {
            let wanted = wanted.as_ref();
            wanted.is_some_and(|wanted| wanted.name_any() == one.name_any())
        };
        for one in all.iter().filter(|one| !is_wanted(one)) {
            writer.withdraw_request(one).await?;
        }
        all.retain(is_wanted);
        if let (Some(wanted), true) = (wanted, all.is_empty()) {
            writer.ask(&wanted).await?;
            all.push(wanted);
        }
        Ok(())
    }

    /// When to ask, to look for the answer, or to ask anew.
    pub(crate) fn deadline(
        &self,
        state: &State,
        now: Timestamp,
    ) -> Result<Timestamp, InspectError> {
        let timers = &self.context.timers;
        match (&self.request, self.correspondence(now)) {
            (Some(request), _) => {
                let patience = now.checked_add(request.patience(timers, now)).ok();
                let next = request.next_attempt(timers).or(patience);
                Ok(next.unwrap_or(Timestamp::MAX))
            }
            (None, Some(correspondence)) => correspondence.due(state),
            (None, None) => Ok(Timestamp::MAX),
        }
    }

    /// Tells of a request.
    pub(crate) async fn tell(&self, resource: &SecureExporter, step: &RequestStep) {
        let (RequestStep::Ask { because, .. }, Some(issuer)) = (step, self.issuer) else {
            return;
        };
        let (kind, name) = (&issuer.kind, &issuer.name);
        let note = format!(
            "{kind} {name} is asked for a certificate: {}",
            because.text()
        );
        let events = &self.context.events;
        events.done(resource, "CertificateRequested", &note).await;
    }

    fn correspondence(&self, now: Timestamp) -> Option<Correspondence<'_>> {
        Some(Correspondence {
            spec: self.spec,
            owner: self.owner,
            issuer: self.issuer?,
            asked: &self.asked,
            last_asked: self.last_asked,
            bundle: self.bundle.as_ref(),
            timers: &self.context.timers,
            now,
        })
    }

    fn writer(&self) -> Writer<'a> {
        Writer {
            client: &self.context.client,
            metrics: &self.context.metrics,
        }
    }
}

/// What is asked for by annotation is answered by the request that is asked now, or is on its way.
fn remember(step: &RequestStep, state: &mut State, requests: &Requests) {
    let subject = Subject::Certificate;
    let is_answer = matches!(step, RequestStep::Ask { .. } | RequestStep::Join);
    if is_answer && requests.is_pending(subject, &state.handled) {
        let token = requests.token(subject).to_owned();
        state.handled.insert(subject.name().to_owned(), token);
    }
}
