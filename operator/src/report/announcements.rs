//! What people are told of a step, in the log and by an event. Pure.

use crate::rotation::{annotations::Subject, step::Step};

/// The reason of what was asked for and not done: a warning.
pub const DECLINED: &str = "RequestDeclined";

/// A reason for programs and a sentence for people; `None` for steps that change nothing outside.
pub fn announcement(step: &Step) -> Option<(&'static str, String)> {
    Some(match step {
        Step::ReplaceAuthority { generation } => (
            "AuthorityIssued",
            format!("certificate authority of generation {generation}; no other is trusted"),
        ),
        Step::PrepareAuthority { generation } => (
            "AuthorityPrepared",
            format!(
                "certificate authority of generation {generation}: scrapers are told to trust it besides the old one"
            ),
        ),
        Step::ReplaceBundle { generation, .. } => (
            "AuthorityAdopted",
            format!("authorities of the issuer, generation {generation}; no other is trusted"),
        ),
        Step::PrepareBundle { generation, .. } => (
            "AuthorityPrepared",
            format!(
                "authorities of the issuer, generation {generation}: scrapers are told to trust them besides the old ones"
            ),
        ),
        Step::AbandonAuthority => (
            "AuthorityAbandoned",
            "the authority that was prepared is not the issuer's any more: scrapers are told to trust it no longer".to_owned(),
        ),
        Step::RecallAuthority { again, .. } => (
            "AuthorityRecalled",
            format!("the issuer is back at authorities that are still trusted, now generation {again}"),
        ),
        Step::SwitchAuthority => (
            "AuthoritySwitched",
            "the new certificate authority signs from now on".to_owned(),
        ),
        Step::DropAuthorities => (
            "AuthorityDropped",
            "scrapers are told to trust the new certificate authority alone".to_owned(),
        ),
        Step::IssueLeaf { because } => (
            "CertificateIssued",
            format!("serving certificate: {}", because.text()),
        ),
        Step::ServeSupplied { .. } => (
            "CertificateAdopted",
            "serving certificate: what the issuer has supplied".to_owned(),
        ),
        Step::Decline { subject, .. } => (DECLINED, declined(*subject).to_owned()),
        Step::SwitchClient => (
            "ClientSwitched",
            "scrapers are told a client certificate of the new certificate authority".to_owned(),
        ),
        Step::IssueClient { because } => (
            "ClientCertificateIssued",
            format!("client certificate of the scrapers: {}", because.text()),
        ),
        Step::ReplacePassword {
            generation,
            own: Some(_),
        } => (
            "PasswordTaken",
            format!(
                "password of generation {generation}, your own; no other is accepted of this user"
            ),
        ),
        Step::PreparePassword {
            generation,
            own: Some(_),
        } => (
            "PasswordPrepared",
            format!(
                "password of generation {generation}, your own: exporters accept it besides the old one"
            ),
        ),
        Step::KeepPassword => (
            "PasswordKept",
            "another password was asked for; it is your own: change the Secret that spec.authentication.basicAuth.passwordSecretRef names"
                .to_owned(),
        ),
        Step::ReplaceUsers { users } => (
            "UsersReplaced",
            format!("{} users are accepted besides the scrapers' own", users.len()),
        ),
        Step::ReplacePassword { generation, .. } => (
            "PasswordGenerated",
            format!("password of generation {generation}; no other is accepted"),
        ),
        Step::PreparePassword { generation, .. } => (
            "PasswordPrepared",
            format!("password of generation {generation}: exporters accept it besides the old one"),
        ),
        Step::SwitchPassword => (
            "PasswordSwitched",
            "scrapers are told the new password".to_owned(),
        ),
        Step::DropPasswords => (
            "PasswordDropped",
            "exporters accept the new password alone".to_owned(),
        ),
        Step::HashAgain => ("PasswordHashed", "the bcrypt cost has changed".to_owned()),
        Step::RestartTimers => (
            "TimersRestarted",
            "the clock has jumped: the waits of the rotation under way start anew".to_owned(),
        ),
        Step::AwaitPublication => (
            "TimersRestarted",
            "a generated Secret or ConfigMap was not there as it should be (deleted or changed, by hand or with the spec), and is written again: the waits of the rotation under way start anew"
                .to_owned(),
        ),
        Step::AcceptSpec
        | Step::ConfirmAuthority
        | Step::ConfirmPassword
        | Step::Remember { .. }
        | Step::Forget { .. } => return None,
    })
}

/// What to do instead of asking by annotation.
fn declined(subject: Subject) -> &'static str {
    match subject {
        Subject::Certificate | Subject::Authority => {
            "rotate: this is for another issuer to do (spec.tls.issuer), and what it issues next is followed: renew it there, or, where it comes from a Secret, put the next one into the Secret that spec.tls.issuer.provided.secretName names"
        }
        Subject::DistrustAll => {
            "distrust: the password was replaced; the certificate comes from another issuer (spec.tls.issuer): revoke it there, have another authority sign another one (ask cert-manager by rotate: certificate, or put it into the Secret that spec.tls.issuer.provided.secretName names), and take the old authority out of the bundle"
        }
        Subject::DistrustAuthority | Subject::Password => {
            "distrust: the authority is that of another issuer (spec.tls.issuer): revoke the certificate there, have another authority sign another one (ask cert-manager by rotate: certificate, or put it into the Secret that spec.tls.issuer.provided.secretName names), and take the old authority out of the bundle"
        }
    }
}
