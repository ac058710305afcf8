//! The status of a resource: a pure function of what a pass observed.

use jiff::Timestamp;
use k8s_openapi::{api::apps::v1::DaemonSet, apimachinery::pkg::apis::meta::v1::Time};

use crate::{
    api::{
        CertificateStatus, CredentialsStatus, NodesStatus, References, SecureExporterStatus,
        TrustStatus,
    },
    names::{ChildKind, Owner},
    observe::children::Child,
    report::{
        certificate,
        conditions::{self, Finding, Verdict},
        contention,
        pod_problems::Complaint,
        problem::Problem,
        requests, rotation,
        seen::{Seen, Served},
    },
    rotation::{
        annotations::write_handled, evidence::Exporter, state::State, timing::renewal_time,
    },
    spec::ValidSpec,
    supplied::credentials::CredentialsProblem,
};
use secure_exporter_pki::{
    InspectError,
    inspect::{bundle_end, inspect},
};

/// Returns the serving certificate and the client certificate as the status shows them.
///
/// # Errors
/// A certificate in the state cannot be read.
pub fn certificates(
    served: &Served<'_>,
    owner: &Owner,
) -> Result<(CertificateStatus, Option<CertificateStatus>), InspectError> {
    let leaf = &served.state.leaf;
    let presented = served.state.client.as_ref();
    let client = presented
        .filter(|_| served.spec.methods.ask_certificate())
        .map(|client| {
            certificate(
                served,
                owner,
                &client.certificate_pem,
                client.authority_generation,
            )
        })
        .transpose()?;
    let leaf = certificate(
        served,
        owner,
        &leaf.certificate_pem,
        leaf.authority_generation,
    )?;
    Ok((leaf, client))
}

/// Returns the status after a pass. What the pass could not determine stays as it was.
pub fn status(
    previous: &SecureExporterStatus,
    generation: Option<i64>,
    seen: &Seen<'_>,
    now: Timestamp,
) -> SecureExporterStatus {
    let mut status = SecureExporterStatus {
        observed_generation: generation,
        references: Some(references(seen.owner)),
        ..previous.clone()
    };
    if let Some(served) = &seen.served {
        if let Ok((certificate, client)) = certificates(served, seen.owner) {
            status.certificate = Some(certificate);
            status.client_certificate = client;
        }
        status.trust = trust(served.state).ok().or(status.trust);
        let asks_password = served.spec.methods.ask_password();
        status.credentials = asks_password.then(|| credentials(served));
        status.rotation =
            rotation::progress(previous.rotation.as_ref(), served.state, seen.waiting);
        status.handled_requests = write_handled(&served.state.handled);
    }
    if !matches!(seen.daemon_set, Child::Unknown(_)) {
        let before = previous.nodes.as_ref().map_or(0, |nodes| nodes.verified);
        let certificate = status.certificate.as_ref();
        let verified = seen
            .exporters
            .map_or(before, |exporters| verified(exporters, certificate));
        status.nodes = Some(nodes(seen.daemon_set.ours(), verified));
    }
    let verdicts = verdicts(seen, &status, now);
    status.conditions = conditions::merge(&previous.conditions, verdicts, generation, now);
    status
}

fn verdicts(seen: &Seen<'_>, status: &SecureExporterStatus, now: Timestamp) -> Vec<Verdict> {
    let port = seen.served.as_ref().map(|served| served.spec.port);
    let trouble = seen
        .complaints
        .iter()
        .flat_map(|complaints| complaints.iter())
        .map(|complaint| explain(complaint, port, &seen.owner.namespace))
        .next();
    let certificate = certificate_verdict(seen, status, now);
    let mut verdicts = vec![
        ready_verdict(seen, &certificate, trouble.as_ref(), status, now),
        available_verdict(seen, status),
        certificate,
        published_verdict(seen),
        port_verdict(seen, port),
        stalled_verdict(seen, trouble),
    ];
    match &seen.served {
        Some(served) => verdicts.extend([
            rotation::rotating(served.spec, served.state, seen.waiting).into(),
            rotation::blocked(served.spec, seen),
        ]),
        None => verdicts.extend([
            Verdict::AsBefore(conditions::ROTATING),
            Verdict::AsBefore(conditions::ROTATION_BLOCKED),
        ]),
    }
    verdicts.extend(accepted(seen));
    verdicts.extend(requests::accepted(
        seen.requests,
        seen.adoption,
        seen.owner,
        seen.served.as_ref(),
    ));
    verdicts.extend(contention::verdict(
        &status.conditions,
        seen.ours_since,
        now,
    ));
    verdicts
}

fn certificate_verdict(seen: &Seen<'_>, status: &SecureExporterStatus, now: Timestamp) -> Verdict {
    let client = status.client_certificate.as_ref();
    match (&seen.served, &status.certificate) {
        (Some(served), Some(certificate)) => {
            certificate::validity(served, certificate, client, seen.supply, now)
        }
        (None, Some(certificate)) => certificate::remembered(certificate, now).into(),
        (_, None) => Finding::unknown(
            conditions::CERTIFICATE_VALID,
            "NotIssued",
            "No certificate has been issued yet.",
        )
        .into(),
    }
}

fn available_verdict(seen: &Seen<'_>, status: &SecureExporterStatus) -> Verdict {
    let Some(nodes) = status.nodes.as_ref().filter(|_| is_known(seen.daemon_set)) else {
        return Verdict::AsBefore(conditions::AVAILABLE);
    };
    let (holds, reason, message) = if nodes.ready > 0 {
        let message = format!(
            "The exporter is ready on {} of {} nodes.",
            nodes.ready, nodes.desired
        );
        (true, "ExportersServing", message)
    } else {
        let message = "No node has a ready exporter, so there are no node metrics.".to_owned();
        (false, "NoExporterServes", message)
    };
    Finding::new(conditions::AVAILABLE, holds, reason, message).into()
}

fn port_verdict(seen: &Seen<'_>, port: Option<u16>) -> Verdict {
    let Some(complaints) = seen.complaints else {
        return Verdict::AsBefore(conditions::PORT_CONFLICT);
    };
    let finding = if complaints.contains(&Complaint::PortTaken) {
        let (_, message) = explain(&Complaint::PortTaken, port, &seen.owner.namespace);
        Finding::new(conditions::PORT_CONFLICT, true, "PortTaken", message)
    } else {
        let message = "No node reports that the port is in use.";
        Finding::new(conditions::PORT_CONFLICT, false, "PortFree", message)
    };
    finding.into()
}

/// Whether the two Secrets contain what the state prescribes.
fn published_verdict(seen: &Seen<'_>) -> Verdict {
    const TYPE: &str = conditions::CREDENTIALS_PUBLISHED;
    let is_theirs = |problem: &&Problem| match problem {
        Problem::Child { child, .. } => matches!(
            child,
            ChildKind::State | ChildKind::Server | ChildKind::Scrape
        ),
        Problem::Rotation(_) | Problem::Render(_) | Problem::State { .. } | Problem::Inspect(_) => {
            true
        }
        _ => seen.served.is_none(),
    };
    match seen.problems.iter().find(is_theirs) {
        Some(problem) if problem.is_passing() => Verdict::AsBefore(TYPE),
        Some(problem) => Finding::new(TYPE, false, problem.category(), problem.to_string()).into(),
        None if seen.served.is_none() => Verdict::AsBefore(TYPE),
        None => {
            let (server, scrape) = (seen.owner.server_secret(), seen.owner.scrape_secret());
            let message =
                format!("The credentials are published in the Secrets {server} and {scrape}.");
            Finding::new(TYPE, true, "Published", message).into()
        }
    }
}

fn stalled_verdict(seen: &Seen<'_>, trouble: Option<(&'static str, String)>) -> Verdict {
    const TYPE: &str = conditions::STALLED;
    if let Some(problem) = seen.blocking() {
        return Finding::new(TYPE, true, problem.category(), problem.to_string()).into();
    }
    match trouble {
        Some((reason, message)) => Finding::new(TYPE, true, reason, message).into(),
        // Without all information the condition stays as it was.
        None if seen.complaints.is_none() || !seen.problems.is_empty() => Verdict::AsBefore(TYPE),
        None => {
            let message = "Nothing needs the attention of a user.";
            Finding::new(TYPE, false, "Progressing", message).into()
        }
    }
}

/// The condition `CredentialsAccepted`; `None` if the spec names no user-supplied Secret.
fn accepted(seen: &Seen<'_>) -> Option<Verdict> {
    const TYPE: &str = conditions::CREDENTIALS_ACCEPTED;
    let names_secrets = seen.spec.is_some_and(ValidSpec::has_supplied_secrets);
    // Before there is anything to keep, the problem itself is reported.
    let Some(own) = seen.own.filter(|_| seen.served.is_some()) else {
        return names_secrets.then_some(Verdict::AsBefore(TYPE));
    };
    let finding =
        |holds, reason, message: String| Some(Finding::new(TYPE, holds, reason, message).into());
    let (password, users) = (own.password.problem(), own.users.problem());
    let password_kept =
        |problem: &CredentialsProblem| format!("{problem}. The previous password stays in use.");
    let users_kept =
        |problem: &CredentialsProblem| format!("{problem}. The previous users stay in use.");
    match (password, users) {
        (Some(password), Some(users)) => finding(
            false,
            "SecretsUnusable",
            format!("{} {}", password_kept(password), users_kept(users)),
        ),
        (Some(password), None) => finding(false, "PasswordUnusable", password_kept(password)),
        (None, Some(users)) => finding(false, "UsersUnusable", users_kept(users)),
        (None, None) if own.is_unreadable() => Some(Verdict::AsBefore(TYPE)),
        (None, None) if names_secrets => {
            let message = "The user-supplied password and users are accepted.";
            finding(true, "Accepted", message.to_owned())
        }
        (None, None) => None,
    }
}

fn ready_verdict(
    seen: &Seen<'_>,
    certificate: &Verdict,
    trouble: Option<&(&'static str, String)>,
    status: &SecureExporterStatus,
    now: Timestamp,
) -> Verdict {
    const TYPE: &str = conditions::READY;
    let not = |reason, message: String| Verdict::Found(Finding::new(TYPE, false, reason, message));
    let certificates = status.certificate.iter().chain(&status.client_certificate);
    let mut ends = certificates.map(|certificate| certificate.not_after.0);
    if let Verdict::Found(finding) = certificate
        && ends.any(|end| end <= now)
    {
        return not("CertificateExpired", finding.message.clone());
    }
    if let Some(problem) = seen.blocking() {
        return not(problem.category(), problem.to_string());
    }
    if let Some((reason, message)) = trouble {
        return not(reason, message.clone());
    }
    let is_known = is_known(seen.daemon_set) && seen.is_complete;
    let Some(nodes) = status.nodes.as_ref().filter(|_| is_known) else {
        return Verdict::AsBefore(TYPE);
    };
    if !is_observed(seen.daemon_set.ours()) {
        return not(
            "DaemonSetPending",
            "The DaemonSet controller has not processed the latest DaemonSet yet.".into(),
        );
    }
    if nodes.desired == 0 {
        return not(
            "NoNodesMatched",
            "No node matches nodeSelector, affinity and tolerations in spec.workload, so no exporter runs.".into(),
        );
    }
    let message = format!("The exporter is ready on {} nodes.", nodes.summary);
    if nodes.ready < nodes.desired {
        return not("DaemonSetNotReady", message);
    }
    Finding::new(TYPE, true, "AllNodesServing", message).into()
}

fn is_known(daemon_set: &Child<DaemonSet>) -> bool {
    !matches!(daemon_set, Child::Unknown(_))
}

fn is_observed(daemon_set: Option<&DaemonSet>) -> bool {
    daemon_set.is_some_and(|set| {
        set.status.as_ref().is_some_and(|status| {
            status.observed_generation.unwrap_or_default()
                >= set.metadata.generation.unwrap_or_default()
        })
    })
}

/// Returns the reason and the message of a pod problem, including how to fix it.
fn explain(complaint: &Complaint, port: Option<u16>, namespace: &str) -> (&'static str, String) {
    let port = port.map_or_else(String::new, |port| format!(" {port}"));
    match complaint {
        Complaint::PortTaken => (
            "PortConflict",
            format!(
                "Port{port} is in use on at least one node, so the exporter cannot start there. Stop the other process (often node_exporter or another SecureExporter), set spec.exporter.port to a free port, or set spec.hostAccess.network to Pod."
            ),
        ),
        Complaint::PodSecurity => (
            "PodSecurityForbidden",
            format!(
                "Pod Security in namespace {namespace} forbids the host access that a node exporter needs, so no exporter runs. To allow it: kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged --overwrite"
            ),
        ),
        Complaint::Image(image) => (
            "ImageUnavailable",
            format!(
                "The image {image} cannot be pulled, so the exporter cannot start. Check spec.image and spec.image.pullSecrets."
            ),
        ),
        Complaint::Crashing(words) => (
            "ExporterCrashing",
            format!("The exporter keeps exiting. The last line of its log: {words}"),
        ),
    }
}

fn nodes(daemon_set: Option<&DaemonSet>, verified: i32) -> NodesStatus {
    let Some(status) = daemon_set.and_then(|set| set.status.as_ref()) else {
        return NodesStatus {
            summary: "0/?".to_owned(),
            ..NodesStatus::default()
        };
    };
    NodesStatus {
        verified,
        desired: status.desired_number_scheduled,
        ready: status.number_ready,
        updated: status.updated_number_scheduled.unwrap_or_default(),
        summary: format!(
            "{}/{}",
            status.number_ready, status.desired_number_scheduled
        ),
    }
}

/// The number of exporters that were observed to serve the published certificate.
fn verified(exporters: &[Exporter], certificate: Option<&CertificateStatus>) -> i32 {
    let Some(certificate) = certificate else {
        return 0;
    };
    let serves = |exporter: &&Exporter| {
        let answer = exporter.answer.as_ref();
        answer.is_some_and(|answer| answer.serial_number == certificate.serial_number)
    };
    i32::try_from(exporters.iter().filter(serves).count()).unwrap_or(i32::MAX)
}

fn credentials(served: &Served<'_>) -> CredentialsStatus {
    let state = served.state;
    let created = state
        .passwords
        .get(&state.active_password)
        .map(|active| active.created);
    let interval = served.spec.rotation.password_interval;
    let next = created
        .zip(interval)
        .and_then(|(created, interval)| created.checked_add(interval).ok());
    CredentialsStatus {
        active_generation: whole(state.active_password),
        accepted_generations: state.passwords.keys().copied().map(whole).collect(),
        last_rotation_time: created.map(whole_seconds),
        next_rotation_time: next.map(whole_seconds),
    }
}

fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn certificate(
    served: &Served<'_>,
    owner: &Owner,
    pem: &str,
    authority_generation: u64,
) -> Result<CertificateStatus, InspectError> {
    let facts = inspect(pem)?;
    let renewal = renewal_time(
        &facts,
        served.state.backdating(authority_generation),
        served.spec.certificate.renew_before_percentage,
        &owner.uid,
    );
    Ok(CertificateStatus {
        renewal_time: whole_seconds(renewal),
        serial_number: facts.serial_number,
        sha256_fingerprint: facts.sha256_fingerprint,
        not_before: Time(facts.not_before),
        not_after: Time(facts.not_after),
        ca_generation: whole(authority_generation),
        subject: facts.subject,
        issuer: facts.issuer,
    })
}

fn trust(state: &State) -> Result<TrustStatus, InspectError> {
    let mut end = Timestamp::MIN;
    if let Some(active) = state.authorities.get(&state.active_authority) {
        end = bundle_end(&active.certificate_pem)?;
    }
    Ok(TrustStatus {
        active_generation: whole(state.active_authority),
        bundled_generations: state.authorities.keys().copied().map(whole).collect(),
        not_after: Time(end),
    })
}

fn references(owner: &Owner) -> References {
    References {
        daemon_set_name: owner.workload(),
        service_name: owner.workload(),
        server_secret_name: owner.server_secret(),
        scrape_secret_name: owner.scrape_secret(),
        trust_config_map_name: owner.ca_config_map(),
    }
}

fn whole(generation: u64) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX)
}
