//! `spec.rotation`: how certificate authority and password are followed by the next.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the certificate authority and the password are followed by the next ones. Old and new overlap, so that no scrape
/// fails. (The serving certificate needs no overlap: it is renewed whatever is set here.)
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RotationSpec {
    /// How long old credentials go on working after scrapers were told the new ones: longer than your slowest copy of the
    /// Secret <name>-scrape takes. The operator may be set to a longer minimum.
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[serde(default = "default_client_overlap")]
    pub client_overlap: String,

    /// Observed: the operator asks every exporter what it serves and accepts before it goes on. Timed: it only waits, for
    /// clusters whose network keeps it from the nodes.
    #[serde(default)]
    pub advance: Advance,

    /// What happens when an exporter or a scraper does not come along, because its node is down or somebody still uses an
    /// old password. Wait: the old credential goes on working until it does. Proceed: it ends with clientOverlap.
    #[serde(default)]
    pub on_stragglers: Stragglers,

    /// Active, or Paused: no authority and no password changes. The serving certificate is renewed all the same.
    #[serde(default)]
    pub state: RotationState,
}

impl Default for RotationSpec {
    fn default() -> Self {
        Self {
            client_overlap: default_client_overlap(),
            advance: Advance::default(),
            on_stragglers: Stragglers::default(),
            state: RotationState::default(),
        }
    }
}

fn default_client_overlap() -> String {
    "24h".to_owned()
}

/// What a rotation goes on by.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Advance {
    /// By what the exporters say.
    #[default]
    Observed,
    /// By time alone.
    Timed,
}

/// What happens to stragglers.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stragglers {
    /// They are waited for.
    #[default]
    Wait,
    /// They are left behind.
    Proceed,
}

/// Whether anything rotates.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RotationState {
    /// It does.
    #[default]
    Active,
    /// It does not.
    Paused,
}
