//! Which spec a pass goes by. Pure.

use k8s_openapi::ByteString;

use crate::{
    api::SecureExporterSpec,
    names::Owner,
    rotation::state::{State, rebuild::Published},
    spec::ValidSpec,
};

/// The spec that is asked for, where it is valid: `asked`. Else the last that was accepted, which the state holds, `stored`
/// or as this process `remembered` it; and for a state that has none, what can be told from the certificate that is
/// served. `None` where nothing was ever accepted: then nothing is issued.
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
