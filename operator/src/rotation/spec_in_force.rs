//! Which spec applies in a pass. Pure.

use k8s_openapi::ByteString;

use crate::{
    api::SecureExporterSpec,
    names::Owner,
    rotation::state::{State, published::Published},
    spec::ValidSpec,
};

/// Returns the spec of the resource if it is valid (`asked`); otherwise the last accepted one, from the `stored` state or from
/// the one that this process `remembered`; and if the state has none, what can be derived from the serving certificate.
/// `None` if no spec was ever accepted: then nothing is issued.
pub fn spec_in_force(
    asked: Option<&ValidSpec>,
    stored: Option<&State>,
    remembered: Option<&State>,
    published: &Published<'_>,
    resource: (&SecureExporterSpec, &Owner),
) -> Option<ValidSpec> {
    if let Some(asked) = asked {
        return Some(asked.clone());
    }
    let state = stored.or(remembered);
    let accepted = |state: Option<&State>| state?.accepted.clone();
    accepted(stored)
        .or_else(|| accepted(remembered))
        .or_else(|| {
            let leaf_pem = match state {
                Some(state) => &state.leaf.certificate_pem,
                None => served_leaf(published)?,
            };
            let (spec, owner) = resource;
            ValidSpec::of_served(spec, owner, leaf_pem).ok()
        })
}

fn served_leaf<'a>(published: &Published<'a>) -> Option<&'a str> {
    let ByteString(bytes) = published.server?.data.as_ref()?.get("tls.crt")?;
    std::str::from_utf8(bytes).ok()
}
