//! `spec.rotation`: how the CA and the password are rotated.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the CA and the password are rotated. The old and the new one overlap, so that no scrape fails. The serving
/// certificate needs no overlap: it is always renewed, independently of these settings.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RotationSpec {
    /// How long old credentials keep working after the new ones were published in the Secret <name>-scrape. Must be longer
    /// than the slowest scraper takes to pick up a change of that Secret. The operator can be configured with a longer
    /// minimum.
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}(h|m|s)){1,3}$')")
        .message("clientOverlap must be a duration in hours, minutes and seconds: use 48h for 2 days"))]
    #[schemars(length(max = 24))]
    #[serde(default = "default_client_overlap")]
    pub client_overlap: String,

    /// When a rotation enters its next stage. Observed: when the operator has asked every exporter what it serves and
    /// accepts. Timed: after a fixed time, for clusters in which the operator cannot reach the nodes.
    #[serde(default)]
    pub advance: Advance,

    /// What happens when an exporter or a client falls behind, because its node is down or the client still uses the old
    /// password. Wait: the old credential keeps working until it has caught up. Proceed: the old credential is dropped after
    /// clientOverlap.
    #[serde(default)]
    pub on_stragglers: Stragglers,

    /// Active, or Paused: the CA and the password are not rotated. The serving certificate is still renewed.
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

/// When a rotation enters its next stage.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Advance {
    /// When the exporters have confirmed the current one.
    #[default]
    Observed,
    /// After a fixed time.
    Timed,
}

/// What happens when exporters or clients fall behind in a rotation.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stragglers {
    /// The old credential keeps working until they have caught up.
    #[default]
    Wait,
    /// The old credential is dropped after the overlap.
    Proceed,
}

/// Whether the CA and the password are rotated.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RotationState {
    /// They are rotated.
    #[default]
    Active,
    /// They stay as they are.
    Paused,
}
