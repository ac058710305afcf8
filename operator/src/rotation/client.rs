//! When the client certificate is renewed. Like the renewal of the serving certificate this waits for nothing, with one
//! exception: a certificate of a CA that exporters may not know yet.
//!
//! The client certificate switches to a new CA together with the serving certificate if there is a cross certificate, with
//! which an exporter that only knows the old CA can verify it. If there is none, because the key of the old CA is lost, it
//! waits until the exporters serve a certificate of the new CA, which they receive in the same Secret as the new CA bundle.

use jiff::Timestamp;

use crate::rotation::{
    annotations::Subject,
    because::Because,
    situation::Situation,
    state::{Client, State},
    step::{ClientStep, Step},
    timing::renewal_time,
};
use secure_exporter_pki::{BACKDATING, InspectError, inspect::inspect};

/// Returns the steps for a new client certificate, if one is due.
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

/// Returns the steps that switch the client certificate together with the serving certificate to the newest CA; none if
/// exporters that only have the previous CA bundle would refuse it. That is the case without a cross certificate, and while a
/// CA older than the active one is kept: some exporter may know no other, and the chain only bridges one change.
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

/// Whether the client certificate belongs to another CA than the active one.
pub(crate) fn is_behind(state: &State) -> bool {
    let client = state.client.as_ref();
    client.is_some_and(|client| client.authority_generation != state.active_authority)
}

/// Returns the steps that switch the client certificate to the active CA.
pub(crate) fn change() -> Vec<Step> {
    let because = Because::NewAuthority;
    vec![
        Step::Client(ClientStep::Switch),
        Step::Client(ClientStep::Issue { because }),
    ]
}

/// Returns when a new client certificate is due by time alone; `None` if there is none.
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
    vec![Step::Client(ClientStep::Issue { because })]
}

fn due(client: &Client, situation: &Situation<'_>) -> Result<Timestamp, InspectError> {
    let facts = inspect(&client.certificate_pem)?;
    let percentage = situation.spec.certificate.renew_before_percentage;
    Ok(renewal_time(&facts, BACKDATING, percentage, situation.uid))
}

/// Returns until when the switch may wait for exporters: scrapers need the overlap before the old certificate expires.
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
        rotation::{
            annotations::Requests, carry_out::carry_out, decide, evidence::Heard, timing::Timers,
        },
        spec::ValidSpec,
        supplied::{certificate::Supply, credentials::SuppliedCredentials},
    };

    fn spec(methods: &[&str]) -> ValidSpec {
        let spec = json!({"authentication": {"methods": methods, "basicAuth": {"bcryptCost": 4}}});
        ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &Owner::nodes()).unwrap()
    }

    fn next_state(spec: &ValidSpec, state: Option<State>, now: Timestamp) -> State {
        let requests = Requests::default();
        let situation = Situation {
            spec,
            own: &SuppliedCredentials::default(),
            requests: &requests,
            supply: &Supply::Managed,
            uid: "u",
            published: true,
            heard: &Heard::nobody(),
            timers: &Timers::default(),
            now,
            clock_jumped: false,
            watched_since: Timestamp::MIN,
        };
        let steps = decide::decide(state.as_ref(), &situation).unwrap();
        carry_out(&steps, state, spec, &Owner::nodes(), now).unwrap()
    }

    #[test]
    fn only_credentials_of_the_required_methods_are_generated() {
        let made = |methods: &[&str]| {
            let state = next_state(&spec(methods), None, Timestamp::UNIX_EPOCH);
            (!state.passwords.is_empty(), state.client.is_some())
        };
        assert_eq!(made(&["BasicAuth"]), (true, false));
        assert_eq!(made(&["ClientCertificate"]), (false, true));
        assert_eq!(made(&["BasicAuth", "ClientCertificate"]), (true, true));
    }

    #[test]
    fn a_renewal_keeps_the_key_and_a_new_ca_brings_a_new_one() {
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
        let steps = [Step::Client(ClientStep::Issue { because })];
        let replaced = carry_out(&steps, Some(state), &spec, &Owner::nodes(), begin).unwrap();
        assert_ne!(replaced.client.unwrap().key_pem, first.key_pem);
    }
}
