//! When the client certificate of the scrapers is renewed. Like the leaf it waits for nothing, with one exception: a
//! certificate of an authority that exporters may not know yet.
//!
//! It changes its authority together with the leaf where the cross certificate lets an exporter that knows only the old
//! authority verify it. Where there is none, because the key of the old authority is lost, it waits until the exporters
//! serve a leaf of the new one: that comes to them in one Secret with the new bundle.

use jiff::Timestamp;

use crate::rotation::{
    annotations::Subject,
    situation::Situation,
    state::{Client, State},
    step::{Because, Step},
    timing::renewal_time,
};
use secure_exporter_pki::{BACKDATING, InspectError, inspect::inspect};

/// A new client certificate, where one is due.
pub(crate) fn renew(state: &State, situation: &Situation<'_>) -> Result<Vec<Step>, InspectError> {
    if !situation.spec.methods.ask_certificate() || !state.signs(state.active_authority) {
        return Ok(Vec::new());
    }
    let Some(client) = &state.client else {
        return Ok(issue(Because::First));
    };
    if is_behind(state) {
        let must = deadline(client, situation)? <= situation.now;
        return Ok(if must { change() } else { Vec::new() });
    }
    let requested = situation
        .requests
        .is_pending(Subject::Certificate, &state.handled);
    Ok(
        if client.parameters != situation.spec.client_parameters().fingerprint() {
            issue(Because::SpecChanged)
        } else if due(client, situation)? <= situation.now {
            issue(Because::Due)
        } else if requested {
            issue(Because::Requested)
        } else {
            Vec::new()
        },
    )
}

/// The client certificate that comes with the leaf of the newest authority: none where exporters that only have the
/// bundle from before would refuse it. Besides a missing cross certificate that is so where an authority before the active
/// one is still kept, because a straggler may know no other, and a chain bridges one change only.
pub(crate) fn switch(state: &State) -> Vec<Step> {
    let newest = state.authorities.last_key_value();
    let has_cross = newest.is_some_and(|(_, newest)| newest.cross_pem.is_some());
    let is_second = state.authorities.len() == 2;
    if state.client.is_some() && has_cross && is_second && !is_behind(state) {
        issue(Because::NewAuthority)
    } else {
        Vec::new()
    }
}

/// Whether the client certificate is of another authority than the one that signs.
pub(crate) fn is_behind(state: &State) -> bool {
    let client = state.client.as_ref();
    client.is_some_and(|client| client.authority_generation != state.active_authority)
}

/// The steps by which a certificate that is behind comes to the active authority.
pub(crate) fn change() -> Vec<Step> {
    let because = Because::NewAuthority;
    vec![Step::SwitchClient, Step::IssueClient { because }]
}

/// When time alone brings a new client certificate; `None` where there is none.
pub(crate) fn next(
    state: &State,
    situation: &Situation<'_>,
) -> Result<Option<Timestamp>, InspectError> {
    let Some(client) = &state.client else {
        return Ok(None);
    };
    let time = if is_behind(state) {
        deadline(client, situation)?
    } else {
        due(client, situation)?
    };
    Ok(Some(time))
}

fn issue(because: Because) -> Vec<Step> {
    vec![Step::IssueClient { because }]
}

fn due(client: &Client, situation: &Situation<'_>) -> Result<Timestamp, InspectError> {
    let facts = inspect(&client.certificate_pem)?;
    let percentage = situation.spec.certificate.renew_before_percentage;
    Ok(renewal_time(&facts, BACKDATING, percentage, situation.uid))
}

/// Until when it may wait for exporters: scrapers need the overlap to come to the next one before it ends.
fn deadline(client: &Client, situation: &Situation<'_>) -> Result<Timestamp, InspectError> {
    let end = inspect(&client.certificate_pem)?.not_after;
    let latest = end
        .checked_sub(situation.overlap())
        .unwrap_or(Timestamp::MIN);
    Ok(latest.max(due(client, situation)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        names::Owner,
        rotation::{annotations::Requests, carry_out::carry_out, decide, timing::Timers},
        spec::ValidSpec,
        supplied::{certificate::Supply, credentials::OwnCredentials},
    };

    fn owner() -> Owner {
        Owner {
            name: "nodes".into(),
            namespace: "monitoring".into(),
            uid: "u".into(),
        }
    }

    fn spec(methods: &[&str]) -> ValidSpec {
        let spec = json!({"authentication": {"methods": methods, "basicAuth": {"bcryptCost": 4}}});
        ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &owner()).unwrap()
    }

    fn next_state(spec: &ValidSpec, state: Option<State>, now: Timestamp) -> State {
        let requests = Requests::default();
        let situation = Situation {
            spec,
            own: &OwnCredentials::default(),
            requests: &requests,
            supply: &Supply::Managed,
            uid: "u",
            published: true,
            exporters: &[],
            timers: &Timers::default(),
            now,
            clock_jumped: false,
        };
        let steps = decide::decide(state.as_ref(), &situation).unwrap();
        carry_out(&steps, state, spec, &owner(), now).unwrap()
    }

    #[test]
    fn only_what_is_asked_for_is_made() {
        let made = |methods: &[&str]| {
            let state = next_state(&spec(methods), None, Timestamp::UNIX_EPOCH);
            (!state.passwords.is_empty(), state.client.is_some())
        };
        assert_eq!(made(&["BasicAuth"]), (true, false));
        assert_eq!(made(&["ClientCertificate"]), (false, true));
        assert_eq!(made(&["BasicAuth", "ClientCertificate"]), (true, true));
    }

    #[test]
    fn a_renewal_keeps_the_key_and_another_authority_brings_another() {
        let spec = spec(&["ClientCertificate"]);
        let begin: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let state = next_state(&spec, None, begin);
        let first = state.client.clone().unwrap();
        let facts = inspect(&first.certificate_pem).unwrap();
        let renewed = next_state(
            &spec,
            Some(state.clone()),
            renewal_time(&facts, BACKDATING, 33, "u"),
        );
        let second = renewed.client.unwrap();
        assert_ne!(second.certificate_pem, first.certificate_pem);
        assert_eq!(second.key_pem, first.key_pem);
        let because = Because::NewAuthority;
        let steps = [Step::IssueClient { because }];
        let replaced = carry_out(&steps, Some(state), &spec, &owner(), begin).unwrap();
        assert_ne!(replaced.client.unwrap().key_pem, first.key_pem);
    }
}
