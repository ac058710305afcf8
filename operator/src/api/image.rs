//! `spec.image`: the exporter image.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The exporter image. The operator only accepts repositories in its allow-list, and its default image.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ImageSpec {
    /// Registry and repository, without tag or digest, for example registry.example.com/mirror/secure-exporter.
    /// Default: the repository of the operator's default image. Must be in the operator's allow-list (--allowed-images).
    #[schemars(length(min = 1, max = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,

    /// Tag of the image. Default: the tag of the operator's default image.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,

    /// Digest of the image: sha256: and 64 hexadecimal digits. Takes precedence over the tag and pins the exact image.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,

    /// When the kubelet pulls the image: IfNotPresent, Always or Never.
    #[serde(default)]
    pub pull_policy: PullPolicy,

    /// Secrets with registry credentials for pulling the image, in the same namespace.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pull_secrets: Vec<PullSecret>,
}

/// When the kubelet pulls an image.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Only when the image is not on the node yet.
    #[default]
    IfNotPresent,
    /// Every time a pod starts.
    Always,
    /// Never: the image must already be on the node.
    Never,
}

/// A Secret of type kubernetes.io/dockerconfigjson in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PullSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A parsed image reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// Registry and repository.
    pub repository: String,
    /// Tag, without the colon.
    pub tag: Option<String>,
    /// Digest, with its algorithm.
    pub digest: Option<String>,
}

/// Why an image reference was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct ImageReferenceError {
    text: String,
    wanted: &'static str,
}

impl ImageReference {
    /// Parses `repository[:tag][@digest]`.
    pub fn parse(text: &str) -> Result<Self, ImageReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(parse_tag(tag)?)),
            _ => (rest, None),
        };
        Ok(Self {
            repository: parse_repository(repository)?,
            tag,
            digest,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Parses a registry and repository without tag or digest: components between slashes, of which only the first, the
/// registry, may contain a port. Strict, because the allow-list compares text, and the kubelet must not read the same
/// text in another way.
pub(crate) fn parse_repository(text: &str) -> Result<String, ImageReferenceError> {
    let mut components = text.split('/');
    let first = components.next().unwrap_or_default();
    let (host, port) = match first.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (first, None),
    };
    let is_valid_port = port.is_none_or(|port| {
        text.contains('/') && port.parse::<u16>().is_ok_and(|number| number > 0)
    });
    if is_valid_port && is_component(host) && components.all(is_component) {
        Ok(text.to_owned())
    } else {
        Err(refuse(
            text,
            "an image repository such as registry.example.com/team/secure-exporter",
        ))
    }
}

pub(crate) fn parse_tag(text: &str) -> Result<String, ImageReferenceError> {
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_other = |c: char| is_first(c) || matches!(c, '.' | '-');
    if text.len() <= 128 && text.starts_with(is_first) && text.chars().all(is_other) {
        Ok(text.to_owned())
    } else {
        Err(refuse(text, "an image tag such as 0.1.0"))
    }
}

pub(crate) fn parse_digest(text: &str) -> Result<String, ImageReferenceError> {
    let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    match text.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.chars().all(is_hex) => Ok(text.to_owned()),
        _ => Err(refuse(
            text,
            "an image digest: sha256: and 64 hexadecimal digits",
        )),
    }
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text
            .chars()
            .all(|c| alphanumeric(c) || matches!(c, '.' | '_' | '-'))
}

fn refuse(text: &str, wanted: &'static str) -> ImageReferenceError {
    ImageReferenceError {
        text: text.to_owned(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::ImageReference;

    #[test]
    fn a_parsed_reference_is_written_as_it_was_read() {
        let digest = format!("sha256:{}", "a1".repeat(32));
        for text in [
            "localhost/secure-exporter:dev".to_owned(),
            "registry.example.com:5000/team/secure-exporter:0.1.0".to_owned(),
            "registry.example.com:5000/team/secure-exporter".to_owned(),
            format!("ghcr.io/x/y@{digest}"),
            format!("ghcr.io/x/y:1@{digest}"),
        ] {
            assert_eq!(ImageReference::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn ambiguous_references_are_refused() {
        for text in [
            "",
            "/x",
            "x/",
            "x//y",
            "x/../y",
            "X/y",
            "x y",
            "x:",
            "x:y:z",
            "host:0/x",
            "host:port/x",
            "x@sha256:abc",
            "x:tag@",
            "x/y:tag/z",
        ] {
            assert!(ImageReference::parse(text).is_err(), "{text}");
        }
    }
}
