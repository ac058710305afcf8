//! Which images a resource may run: its author must not gain the node by naming an image.

use crate::{
    api::image::{
        ImageReference, ImageReferenceError, ImageSpec, parse_digest, parse_repository, parse_tag,
    },
    spec::SpecError,
};

/// Which images a resource may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePolicy {
    default: ImageReference,
    allowed: Vec<String>,
}

/// Why the operator's own image settings were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImagePolicyError {
    /// The default image.
    #[error("default exporter image (--exporter-image): {0}")]
    Default(ImageReferenceError),
    /// An entry of the allow-list.
    #[error("allowed image (--allowed-images): {0}")]
    Allowed(ImageReferenceError),
}

impl ImagePolicy {
    /// The policy of an operator whose default image is `default_image`, and which also allows every repository that is,
    /// or lies under, one of `allowed`: `registry.example.com/team` allows `registry.example.com/team/exporter`, and
    /// not `registry.example.com/teammate/exporter`.
    pub fn new(default_image: &str, allowed: &[String]) -> Result<Self, ImagePolicyError> {
        let default = ImageReference::parse(default_image).map_err(ImagePolicyError::Default)?;
        let allowed = allowed
            .iter()
            .map(|entry| parse_repository(entry.trim().trim_end_matches('/')))
            .collect::<Result<Vec<_>, _>>()
            .map_err(ImagePolicyError::Allowed)?;
        Ok(Self { default, allowed })
    }

    /// The reference that runs for `spec`. What it leaves unset is the default's; but a tag or a digest of its own
    /// replaces both of the default's, which name other bytes.
    pub(crate) fn resolve(&self, spec: &ImageSpec) -> Result<String, SpecError> {
        let refuse = |field: &str, error: ImageReferenceError| SpecError {
            field: format!("spec.image.{field}"),
            problem: error.to_string(),
        };
        let repository = match &spec.repository {
            Some(text) => {
                self.allow(parse_repository(text).map_err(|e| refuse("repository", e))?)?
            }
            None => self.default.repository.clone(),
        };
        let tag = spec
            .tag
            .as_deref()
            .map(parse_tag)
            .transpose()
            .map_err(|e| refuse("tag", e))?;
        let digest = spec
            .digest
            .as_deref()
            .map(parse_digest)
            .transpose()
            .map_err(|e| refuse("digest", e))?;
        let (tag, digest) = if tag.is_none() && digest.is_none() {
            (self.default.tag.clone(), self.default.digest.clone())
        } else {
            (tag, digest)
        };
        Ok(ImageReference {
            repository,
            tag,
            digest,
        }
        .to_string())
    }

    fn allow(&self, repository: String) -> Result<String, SpecError> {
        let lies_under = |prefix: &String| {
            repository
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if repository == self.default.repository || self.allowed.iter().any(lies_under) {
            return Ok(repository);
        }
        Err(SpecError {
            field: "spec.image.repository".to_owned(),
            problem: format!(
                "{repository} is not in the operator's allow-list; allowed are {}. \
                 Ask whoever runs the operator to add it to --allowed-images",
                std::iter::once(&self.default.repository)
                    .chain(&self.allowed)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn policy() -> ImagePolicy {
        ImagePolicy::new(
            "localhost/secure-exporter:dev",
            &["mirror.example.com:5000/team/".into()],
        )
        .unwrap()
    }

    fn image(repository: Option<&str>, tag: Option<&str>, digest: Option<&str>) -> ImageSpec {
        ImageSpec {
            repository: repository.map(Into::into),
            tag: tag.map(Into::into),
            digest: digest.map(Into::into),
            ..ImageSpec::default()
        }
    }

    #[test]
    fn what_is_unset_comes_from_the_default() {
        let mirror = "mirror.example.com:5000/team/exporter";
        for (spec, expected) in [
            (
                image(None, None, None),
                "localhost/secure-exporter:dev".to_owned(),
            ),
            (
                image(None, Some("1"), None),
                "localhost/secure-exporter:1".to_owned(),
            ),
            (
                image(None, None, Some(DIGEST)),
                format!("localhost/secure-exporter@{DIGEST}"),
            ),
            (image(Some(mirror), None, None), format!("{mirror}:dev")),
            (
                image(Some(mirror), Some("2"), Some(DIGEST)),
                format!("{mirror}:2@{DIGEST}"),
            ),
        ] {
            assert_eq!(policy().resolve(&spec).unwrap(), expected);
        }
    }

    #[test]
    fn a_repository_outside_the_list_is_refused() {
        for repository in [
            "evil.example.com/secure-exporter",
            "mirror.example.com:5000/teammate/exporter",
            "mirror.example.com:5000",
            "localhost/secure-exporter-evil",
            "localhost/secure-exporter/evil",
            "mirror.example.com:5000/team/../evil",
            "mirror.example.com:5000/team/exporter:1@evil",
        ] {
            let error = policy()
                .resolve(&image(Some(repository), None, None))
                .unwrap_err();
            assert_eq!(error.field, "spec.image.repository", "{repository}");
        }
    }

    #[test]
    fn a_wrong_setting_of_the_operator_names_its_flag() {
        let error = ImagePolicy::new("Not An Image", &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("--exporter-image"), "{error}");
        let error = ImagePolicy::new("x/y:1", &["*".into()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("--allowed-images"), "{error}");
    }
}
