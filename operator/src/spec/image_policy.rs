//! Which images a resource may run. Without this policy, the author of a resource could take over nodes with an image.

use crate::{
    api::image::{
        ImageReference, ImageReferenceError, ImageSpec, parse_digest, parse_repository, parse_tag,
    },
    spec::error::SpecError,
};

/// Which images a resource may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePolicy {
    default: ImageReference,
    allowed: Vec<String>,
}

/// Why the operator's image flags are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImagePolicyError {
    /// The default image.
    #[error("invalid default exporter image (--exporter-image): {0}")]
    Default(ImageReferenceError),
    /// An entry of the allow-list.
    #[error("invalid allowed image (--allowed-images): {0}")]
    Allowed(ImageReferenceError),
}

impl ImagePolicy {
    /// Creates a policy that allows the repository of `default_image`, and every repository that equals or lies under an
    /// entry of `allowed`: `registry.example.com/team` allows `registry.example.com/team/exporter`, but not
    /// `registry.example.com/teammate/exporter`.
    pub fn new(default_image: &str, allowed: &[String]) -> Result<Self, ImagePolicyError> {
        let default = ImageReference::parse(default_image).map_err(ImagePolicyError::Default)?;
        let allowed = allowed
            .iter()
            .map(|entry| parse_repository(entry.trim().trim_end_matches('/')))
            .collect::<Result<Vec<_>, _>>()
            .map_err(ImagePolicyError::Allowed)?;
        Ok(Self { default, allowed })
    }

    /// Returns the image reference for `spec`. Unset fields are taken from the default image; a tag or a digest in `spec`
    /// replaces both of the default's, because those belong to another image.
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
                "repository {repository} is not in the operator's allow-list ({}): use one of these, or ask the \
                 operator's administrator to add it to --allowed-images",
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
    fn unset_fields_are_taken_from_the_default_image() {
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
    fn an_error_in_the_image_flags_names_the_flag() {
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
