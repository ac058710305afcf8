//! The event and the log line of a step. Pure.

use crate::rotation::{
    annotations::Subject,
    order::OrderStep,
    step::{AuthorityStep, ClientStep, LeafStep, PasswordStep, RequestStep, Step, TimerStep},
};

/// Reason of the warning that a request was declined.
const DECLINED: &str = "RequestDeclined";

/// Whether a step is announced as a warning: a request was not carried out.
pub fn is_warning(step: &Step) -> bool {
    matches!(step, Step::Request(RequestStep::Decline { .. }))
}

/// Reason and message of the event for a step; `None` for steps that change nothing outside the state.
pub fn announcement(step: &Step) -> Option<(&'static str, String)> {
    Some(match step {
        Step::Authority(AuthorityStep::Replace { generation }) => (
            "AuthorityIssued",
            format!("Issued the CA of generation {generation}; no other CA is trusted"),
        ),
        Step::Authority(AuthorityStep::Prepare { generation }) => (
            "AuthorityPrepared",
            format!("Issued the CA of generation {generation} and added it to the CA bundle"),
        ),
        Step::Authority(AuthorityStep::ReplaceBundle { generation, .. }) => (
            "AuthorityAdopted",
            format!("The CA bundle of the issuer is now generation {generation}; no other CA is trusted"),
        ),
        Step::Authority(AuthorityStep::PrepareBundle { generation, .. }) => (
            "AuthorityPrepared",
            format!("Added the issuer's new CAs, generation {generation}, to the CA bundle"),
        ),
        Step::Authority(AuthorityStep::Abandon) => (
            "AuthorityAbandoned",
            "Removed the prepared CA from the CA bundle, because the issuer does not use it any more".to_owned(),
        ),
        Step::Authority(AuthorityStep::Recall { again, .. }) => (
            "AuthorityRecalled",
            format!("The issuer uses earlier CAs again, which are still trusted; they are now generation {again}"),
        ),
        Step::Authority(AuthorityStep::Switch) => (
            "AuthoritySwitched",
            "The new CA now signs the certificates".to_owned(),
        ),
        Step::Authority(AuthorityStep::DropOthers) => (
            "AuthorityDropped",
            "Removed the old CA from the CA bundle".to_owned(),
        ),
        Step::Leaf(LeafStep::Issue { because }) => (
            "CertificateIssued",
            format!("Issued a new serving certificate: {}", because.text()),
        ),
        Step::Leaf(LeafStep::Serve { .. }) => (
            "CertificateAdopted",
            "The exporters now serve the certificate that the issuer supplied".to_owned(),
        ),
        Step::Request(RequestStep::Decline { subject, .. }) => (DECLINED, declined(*subject).to_owned()),
        Step::Client(ClientStep::Switch) => (
            "ClientSwitched",
            "Scrapers now use a client certificate of the new CA".to_owned(),
        ),
        Step::Client(ClientStep::Issue { because }) => (
            "ClientCertificateIssued",
            format!("Issued a new client certificate for the scrapers: {}", because.text()),
        ),
        Step::Password(PasswordStep::Replace {
            generation,
            own: Some(_),
        }) => (
            "PasswordTaken",
            format!(
                "The user-supplied password is now generation {generation}; no other password of this user is accepted"
            ),
        ),
        Step::Password(PasswordStep::Prepare {
            generation,
            own: Some(_),
        }) => (
            "PasswordPrepared",
            format!(
                "Exporters will accept the new user-supplied password, generation {generation}, as well as the old one"
            ),
        ),
        Step::Password(PasswordStep::Keep) => (
            "PasswordKept",
            "The password was not rotated, because it is user-supplied: change the Secret in spec.authentication.basicAuth.passwordSecretRef"
                .to_owned(),
        ),
        Step::ReplaceUsers { users } => (
            "UsersReplaced",
            format!("Exporters will accept {} additional users", users.len()),
        ),
        Step::Password(PasswordStep::Replace { generation, .. }) => (
            "PasswordGenerated",
            format!("Generated the password of generation {generation}; no other password is accepted"),
        ),
        Step::Password(PasswordStep::Prepare { generation, .. }) => (
            "PasswordPrepared",
            format!("Generated the password of generation {generation}; exporters will accept it as well as the old one"),
        ),
        Step::Password(PasswordStep::Switch) => (
            "PasswordSwitched",
            "Published the new password for the scrapers; exporters still accept the old one".to_owned(),
        ),
        Step::Password(PasswordStep::DropOthers) => (
            "PasswordDropped",
            "Dropped the old password; exporters accept only the new one".to_owned(),
        ),
        Step::Password(PasswordStep::HashAgain) => ("PasswordHashed", "Hashed the password again, because spec.authentication.basicAuth.bcryptCost changed".to_owned()),
        Step::Timers(TimerStep::Restart) => (
            "TimersRestarted",
            "The clock jumped, so the timers of the rotation in progress start again".to_owned(),
        ),
        Step::Timers(TimerStep::AwaitPublication) => (
            "TimersRestarted",
            "A generated Secret or ConfigMap was deleted or changed and is written again, so the timers of the rotation in progress start again"
                .to_owned(),
        ),
        Step::Order(OrderStep::Ask { because, .. }) => (
            "CertificateRequested",
            format!("Requested a certificate from the issuer in spec.tls.issuer: {}", because.text()),
        ),
        Step::Order(_)
        | Step::AcceptSpec
        | Step::Authority(AuthorityStep::Confirm)
        | Step::Password(PasswordStep::Confirm)
        | Step::Request(RequestStep::Remember { .. })
        | Step::Request(RequestStep::Forget { .. }) => return None,
    })
}

/// What the user can do instead of setting the annotation.
fn declined(subject: Subject) -> &'static str {
    match subject {
        Subject::Certificate | Subject::Authority => {
            "rotate: the operator cannot rotate this, because the certificate comes from another issuer (spec.tls.issuer). Renew it there, or, with type Provided, put a new certificate into the Secret in spec.tls.issuer.provided.secretName; the operator picks it up automatically"
        }
        Subject::DistrustAll => {
            "distrust: the password was replaced, but the operator cannot replace the certificate, because it comes from another issuer (spec.tls.issuer). Revoke it there, have another CA sign a new one (with cert-manager, set secureexporter.dev/rotate: certificate; with type Provided, put it into the Secret in spec.tls.issuer.provided.secretName), and remove the old CA from the CA bundle"
        }
        Subject::DistrustAuthority | Subject::Password => {
            "distrust: the operator cannot replace the CA, because it belongs to another issuer (spec.tls.issuer). Revoke the certificate there, have another CA sign a new one (with cert-manager, set secureexporter.dev/rotate: certificate; with type Provided, put it into the Secret in spec.tls.issuer.provided.secretName), and remove the old CA from the CA bundle"
        }
    }
}
