//! What `kubectl get` and `kubectl describe` tell: a pure function of what a pass saw.

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::DaemonSet,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};

use crate::{
    api::{
        CertificateStatus, CredentialsStatus, NodesStatus, References, SecureExporterStatus,
        TrustStatus, ValidSpec,
    },
    certificate_status,
    complaints::Complaint,
    conditions::{self, Finding},
    names::Owner,
    own_credentials::{OwnCredentials, OwnProblem},
    pki::{
        InspectError,
        inspect::{bundle_end, inspect},
    },
    rotation::{
        evidence::{Exporter, Tally},
        request::{Requests, write_handled},
        state::State,
        timing::renewal_time,
    },
    rotation_status,
    supply::Supply,
};

/// What a pass that published everything saw.
pub struct Published<'a> {
    /// The spec.
    pub spec: &'a ValidSpec,
    /// Whose it is.
    pub owner: &'a Owner,
    /// The state that is published.
    pub state: &'a State,
    /// The DaemonSet as it was read; `None` in the first pass.
    pub daemon_set: Option<&'a DaemonSet>,
    /// What stands in the way of pods.
    pub complaints: &'a [Complaint],
    /// What the exporters said when they were asked last.
    pub exporters: &'a [Exporter],
    /// The exporters that a rotation waits for; `None` where it waits for none.
    pub waiting_for: Option<&'a Tally>,
    /// What is asked for by annotation.
    pub requests: &'a Requests,
    /// What the user's own Secrets hold.
    pub own: &'a OwnCredentials,
    /// Where the certificate comes from, and what came.
    pub supply: &'a Supply,
}

/// Why a pass could not publish.
#[derive(Clone, Debug)]
pub struct Stalled {
    /// One word, for programs.
    pub reason: &'static str,
    /// What is wrong, and the mend.
    pub message: String,
}

/// The status after a pass that published everything.
///
/// # Errors
/// A certificate in the state cannot be read.
pub fn published(
    previous: &SecureExporterStatus,
    generation: Option<i64>,
    seen: &Published<'_>,
    now: Timestamp,
) -> Result<SecureExporterStatus, InspectError> {
    let leaf = &seen.state.leaf;
    let certificate = certificate(seen, &leaf.certificate_pem, leaf.authority_generation)?;
    let presented = seen.state.client.as_ref();
    let client_certificate = presented
        .filter(|_| seen.spec.methods.ask_certificate())
        .map(|client| self::certificate(seen, &client.certificate_pem, client.authority_generation))
        .transpose()?;
    let verified = verified(seen.exporters, &certificate);
    let nodes = nodes(seen.daemon_set, verified);
    let validity =
        certificate_status::validity(seen, &certificate, client_certificate.as_ref(), now);
    let findings = findings(seen, validity, &nodes);
    Ok(SecureExporterStatus {
        observed_generation: generation,
        trust: Some(trust(seen.state)?),
        credentials: seen.spec.methods.ask_password().then(|| credentials(seen)),
        rotation: rotation_status::progress(seen.state, seen.waiting_for),
        handled_requests: write_handled(&seen.state.handled),
        references: Some(references(seen.owner)),
        conditions: conditions::merge(&previous.conditions, findings, generation, now),
        certificate: Some(certificate),
        client_certificate,
        nodes: Some(nodes),
    })
}

/// The status after a pass that had to stop: what was known before stays, and says what it knows.
pub fn stalled(
    previous: &SecureExporterStatus,
    generation: Option<i64>,
    why: &Stalled,
    now: Timestamp,
) -> SecureExporterStatus {
    let kept = "as before: nothing was changed";
    let findings = vec![
        Finding::new(conditions::READY, false, why.reason, &why.message),
        Finding::unknown(conditions::AVAILABLE, why.reason, kept),
        Finding::unknown(conditions::CERTIFICATE_VALID, why.reason, kept),
        Finding::unknown(conditions::CREDENTIALS_PUBLISHED, why.reason, kept),
        Finding::unknown(conditions::PORT_CONFLICT, why.reason, kept),
        Finding::unknown(conditions::ROTATING, why.reason, kept),
        Finding::unknown(conditions::ROTATION_BLOCKED, why.reason, kept),
        Finding::new(conditions::STALLED, true, why.reason, &why.message),
    ];
    SecureExporterStatus {
        observed_generation: generation,
        conditions: conditions::merge(&previous.conditions, findings, generation, now),
        ..previous.clone()
    }
}

fn findings(seen: &Published<'_>, certificate: Finding, nodes: &NodesStatus) -> Vec<Finding> {
    let trouble = seen
        .complaints
        .iter()
        .map(|complaint| explain(complaint, seen))
        .next();
    let ready = ready_finding(&certificate, trouble.as_ref(), seen.daemon_set, nodes);
    let taken = seen.complaints.contains(&Complaint::PortTaken);
    let port = if taken {
        let (_, message) = explain(&Complaint::PortTaken, seen);
        Finding::new(conditions::PORT_CONFLICT, true, "PortTaken", message)
    } else {
        Finding::new(
            conditions::PORT_CONFLICT,
            false,
            "PortFree",
            "no node reports the port as taken",
        )
    };
    let available = if nodes.ready > 0 {
        Finding::new(
            conditions::AVAILABLE,
            true,
            "ExportersServing",
            format!("{} nodes are served", nodes.ready),
        )
    } else {
        Finding::new(
            conditions::AVAILABLE,
            false,
            "NoExporterServes",
            "no node is served yet",
        )
    };
    let stalled = match &trouble {
        Some((reason, message)) => Finding::new(conditions::STALLED, true, reason, message.clone()),
        None => Finding::new(
            conditions::STALLED,
            false,
            "Progressing",
            "nothing stands in the way",
        ),
    };
    let mut findings = vec![
        ready,
        available,
        certificate,
        Finding::new(
            conditions::CREDENTIALS_PUBLISHED,
            true,
            "Published",
            format!(
                "in {} and {}",
                seen.owner.server_secret(),
                seen.owner.scrape_secret()
            ),
        ),
        port,
        rotation_status::rotating(seen.state, seen.waiting_for),
        rotation_status::blocked(seen),
        stalled,
    ];
    findings.extend(accepted(seen));
    findings
}

/// The condition `CredentialsAccepted`; `None` where the spec names no Secret.
fn accepted(seen: &Published<'_>) -> Option<Finding> {
    let finding = |holds, reason, message: String| {
        Finding::new(conditions::CREDENTIALS_ACCEPTED, holds, reason, message)
    };
    let (password, users) = (seen.own.password.problem(), seen.own.users.problem());
    let password_kept =
        |problem: &OwnProblem| format!("{problem}. The password from before stays in use");
    let users_kept = |problem: &OwnProblem| format!("{problem}. The users from before stay");
    match (password, users) {
        (Some(password), Some(users)) => Some(finding(
            false,
            "SecretsUnusable",
            format!("{}. {}", password_kept(password), users_kept(users)),
        )),
        (Some(password), None) => Some(finding(false, "PasswordUnusable", password_kept(password))),
        (None, Some(users)) => Some(finding(false, "UsersUnusable", users_kept(users))),
        (None, None) => seen.spec.names_own_secrets().then(|| {
            let message = "password and users are those of the Secrets that the spec names";
            finding(true, "Accepted", message.to_owned())
        }),
    }
}

fn ready_finding(
    certificate: &Finding,
    trouble: Option<&(&'static str, String)>,
    daemon_set: Option<&DaemonSet>,
    nodes: &NodesStatus,
) -> Finding {
    let not = |reason, message: String| Finding::new(conditions::READY, false, reason, message);
    if certificate.holds == Some(false) && certificate.reason == certificate_status::EXPIRED {
        return not("CertificateExpired", certificate.message.clone());
    }
    if let Some((reason, message)) = trouble {
        return not(reason, message.clone());
    }
    if !is_observed(daemon_set) {
        return not(
            "DaemonSetPending",
            "the DaemonSet was written and has not been looked at yet".into(),
        );
    }
    if nodes.desired == 0 {
        return not(
            "NoNodesMatched",
            "no node matches spec.workload.nodeSelector, affinity and tolerations".into(),
        );
    }
    if nodes.ready < nodes.desired {
        return not(
            "DaemonSetNotReady",
            format!("{} nodes are served", nodes.summary),
        );
    }
    Finding::new(
        conditions::READY,
        true,
        "AllNodesServing",
        format!("{} nodes are served", nodes.summary),
    )
}

fn is_observed(daemon_set: Option<&DaemonSet>) -> bool {
    daemon_set.is_some_and(|set| {
        set.status.as_ref().is_some_and(|status| {
            status.observed_generation.unwrap_or_default()
                >= set.metadata.generation.unwrap_or_default()
        })
    })
}

/// A reason and a sentence with the mend.
fn explain(complaint: &Complaint, seen: &Published<'_>) -> (&'static str, String) {
    let (port, namespace) = (seen.spec.exporter.port, &seen.owner.namespace);
    match complaint {
        Complaint::PortTaken => (
            "PortConflict",
            format!(
                "port {port} is in use on at least one node, perhaps by node_exporter or by another SecureExporter: stop that one, or set spec.exporter.port to a free port, or spec.hostAccess.network to Pod"
            ),
        ),
        Complaint::PodSecurity => (
            "PodSecurityForbidden",
            format!(
                "the Pod Security of namespace {namespace} forbids the view of the host that a node exporter needs; allow it: kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged --overwrite"
            ),
        ),
        Complaint::Image(image) => (
            "ImageUnavailable",
            format!(
                "the image {image} cannot be pulled: check spec.image and spec.image.pullSecrets"
            ),
        ),
        Complaint::Crashing(words) => (
            "ExporterCrashing",
            format!("the exporter ends again and again; its last words: {words}"),
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

/// How many exporters were seen to serve the published certificate.
fn verified(exporters: &[Exporter], certificate: &CertificateStatus) -> i32 {
    let serves = |exporter: &&Exporter| {
        let answer = exporter.answer.as_ref();
        answer.is_some_and(|answer| answer.serial_number == certificate.serial_number)
    };
    i32::try_from(exporters.iter().filter(serves).count()).unwrap_or(i32::MAX)
}

fn credentials(seen: &Published<'_>) -> CredentialsStatus {
    let state = seen.state;
    let created = state
        .passwords
        .get(&state.active_password)
        .map(|active| active.created);
    let interval = seen.spec.rotation.password_interval;
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

/// The condition's message, where a rotation has come to be held up since `previous`.
pub fn newly_blocked<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<&'a str> {
    let blocked = |condition: &&Condition| {
        condition.type_ == conditions::ROTATION_BLOCKED && condition.status == "True"
    };
    let now = current.conditions.iter().find(blocked)?;
    let before = previous.conditions.iter().find(blocked);
    before.is_none().then_some(now.message.as_str())
}

/// Reason and message of the condition, where since `previous` something else is wrong with a Secret of the user's own.
pub fn newly_unaccepted<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<(&'a str, &'a str)> {
    let differs = |before: &Condition, now: &Condition| before.message != now.message;
    newly_false(conditions::CREDENTIALS_ACCEPTED, previous, current, differs)
}

/// Reason and message of the condition, where since `previous` something else is wrong with the certificate. Its
/// message tells times as well, which are no news.
pub fn newly_invalid<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<(&'a str, &'a str)> {
    let differs = |before: &Condition, now: &Condition| before.reason != now.reason;
    newly_false(conditions::CERTIFICATE_VALID, previous, current, differs)
}

fn newly_false<'a>(
    name: &str,
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
    differs: impl Fn(&Condition, &Condition) -> bool,
) -> Option<(&'a str, &'a str)> {
    let is_false = |condition: &&Condition| condition.type_ == name && condition.status == "False";
    let now = current.conditions.iter().find(is_false)?;
    let before = previous.conditions.iter().find(is_false);
    let is_news = before.is_none_or(|before| differs(before, now));
    is_news.then_some((now.reason.as_str(), now.message.as_str()))
}

fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn certificate(
    seen: &Published<'_>,
    pem: &str,
    authority_generation: u64,
) -> Result<CertificateStatus, InspectError> {
    let facts = inspect(pem)?;
    let renewal = renewal_time(
        &facts,
        seen.state.backdating(authority_generation),
        seen.spec.certificate.renew_before_percentage,
        &seen.owner.uid,
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
mod tests {
    use super::*;

    #[test]
    fn something_else_that_is_wrong_is_news_and_the_same_is_not() {
        let status = |reason, holds| {
            let finding = Finding::new(conditions::CERTIFICATE_VALID, holds, reason, "why");
            SecureExporterStatus {
                conditions: conditions::merge(&[], vec![finding], None, Timestamp::UNIX_EPOCH),
                ..SecureExporterStatus::default()
            }
        };
        let (valid, wrong) = (status("Valid", true), status("KeyMismatch", false));
        assert_eq!(newly_invalid(&valid, &wrong), Some(("KeyMismatch", "why")));
        assert_eq!(newly_invalid(&wrong, &wrong), None);
        assert_eq!(newly_invalid(&wrong, &valid), None);
        let missing = status("SecretMissing", false);
        assert!(newly_invalid(&wrong, &missing).is_some());
    }
}
