//! The status of a resource: a pure function of what a pass observed.

use jiff::Timestamp;
use k8s_openapi::{api::apps::v1::DaemonSet, apimachinery::pkg::apis::meta::v1::Time};

use crate::{
    api::{
        CertificateStatus, CredentialsStatus, NodesStatus, References, SecureExporterStatus,
        TrustStatus, definition::DEFAULT_REASON,
    },
    names::Owner,
    observe::children::Child,
    report::{
        certificate,
        conditions::{self, Finding, Verdict},
        contention,
        exporters::{self, Census},
        pods,
        problem::{Problem, Reading},
        requests, rotation,
        seen::{Seen, Served},
    },
    rotation::{
        annotations::{read_handled, write_handled},
        state::State,
        timing::renewal_time,
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

/// Returns a status without the condition that the API server adds to a resource at which no operator has looked yet.
pub fn without_default(mut status: SecureExporterStatus) -> SecureExporterStatus {
    let conditions = &mut status.conditions;
    conditions.retain(|condition| condition.reason != DEFAULT_REASON);
    status
}

/// Returns the status after a pass. What the pass could not determine stays as it was.
pub fn status(
    previous: &SecureExporterStatus,
    seen: &Seen<'_>,
    now: Timestamp,
) -> SecureExporterStatus {
    let mut status = SecureExporterStatus {
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
        // A state that is lost before it is published is rebuilt from what was published before. What it had handled must be
        // done again: the CA or password that has leaked is still in use.
        if seen.is_published() {
            status.handled_requests = write_handled(&served.state.handled);
        }
    }
    let census = Census::of(seen, status.certificate.as_ref());
    status.nodes = match seen.daemon_set {
        Child::Unknown(_) if seen.blindness().is_some() => None,
        Child::Unknown(_) => status.nodes,
        daemon_set => {
            let before = previous.nodes.as_ref().and_then(|nodes| nodes.verified);
            Some(nodes(daemon_set.ours(), &census, before))
        }
    };
    let verdicts = verdicts(seen, &census, &status, now);
    if !verdicts.contains(&Verdict::AsBefore(conditions::CONTENDED)) {
        status.contended_time = None;
    }
    // Where it is not known whether the resource is ready, its last known status is that of an earlier generation.
    if !verdicts.contains(&Verdict::AsBefore(conditions::READY)) {
        status.observed_generation = seen.generation;
    }
    status.conditions = conditions::merge(&previous.conditions, verdicts, seen.generation, now);
    status
}

fn verdicts(
    seen: &Seen<'_>,
    census: &Census<'_>,
    status: &SecureExporterStatus,
    now: Timestamp,
) -> Vec<Verdict> {
    let trouble = pods::trouble(seen);
    let certificate = certificate_verdict(seen, status, now);
    let mut verdicts = vec![
        pods::ready(seen, &certificate, trouble.as_ref(), status, now),
        pods::available(seen, status),
        certificate,
        published_verdict(seen),
        exporters::verified(seen, census),
        pods::port_conflict(seen),
        pods::stalled(seen, trouble),
    ];
    match &seen.served {
        Some(served) => verdicts.extend([
            rotation::rotating(served, seen).into(),
            rotation::blocked(served, seen),
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
        requests::Progress {
            served: seen.served.as_ref(),
            own: seen.own,
            published: &read_handled(&status.handled_requests),
        },
    ));
    verdicts.extend(contention::verdict(status, seen.ours_since, now));
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

/// Whether the two Secrets contain what the state prescribes.
fn published_verdict(seen: &Seen<'_>) -> Verdict {
    const TYPE: &str = conditions::CREDENTIALS_PUBLISHED;
    let is_theirs = |problem: &&Problem| {
        let is_of_children = matches!(problem, Problem::Child { .. });
        problem.is_of_publication() || (seen.served.is_none() && !is_of_children)
    };
    match seen.problems.iter().find(is_theirs) {
        Some(problem) if problem.is_passing() => Verdict::AsBefore(TYPE),
        Some(problem) if problem.is_unread() => seen.not_known(TYPE, problem),
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

/// The condition `CredentialsAccepted`; `None` if the spec names no user-supplied Secret.
fn accepted(seen: &Seen<'_>) -> Option<Verdict> {
    const TYPE: &str = conditions::CREDENTIALS_ACCEPTED;
    const READING: Reading = Reading::SuppliedCredentials;
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
        (None, None) if own.is_unreadable() => Some(match seen.lasting_read(READING) {
            Some(problem) => seen.not_known(TYPE, problem),
            None => Verdict::AsBefore(TYPE),
        }),
        (None, None) if names_secrets => {
            let message = "The user-supplied password and users are accepted.";
            finding(true, "Accepted", message.to_owned())
        }
        (None, None) => None,
    }
}

/// `before` is how many exporters were verified before.
fn nodes(daemon_set: Option<&DaemonSet>, census: &Census<'_>, before: Option<i32>) -> NodesStatus {
    let Some(status) = daemon_set.and_then(|set| set.status.as_ref()) else {
        return NodesStatus {
            verified: Some(0),
            summary: "0/?".to_owned(),
            ..NodesStatus::default()
        };
    };
    let verified = match census {
        Census::Taken(counted) => i32::try_from(counted.verified).ok(),
        Census::AsBefore => before,
        Census::NotKnown => None,
    };
    NodesStatus {
        // Those on nodes that have gone since they were asked do not count.
        verified: verified.map(|verified| verified.min(status.desired_number_scheduled)),
        desired: status.desired_number_scheduled,
        ready: status.number_ready,
        updated: status.updated_number_scheduled.unwrap_or_default(),
        summary: format!(
            "{}/{}",
            status.number_ready, status.desired_number_scheduled
        ),
    }
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

#[cfg(test)]
mod tests;
