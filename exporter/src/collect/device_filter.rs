//! Decides which devices, mount points or file system types a collector leaves out.

use super::pattern::Pattern;
use super::spec::{BuildContext, BuildError, compile};

/// A pair of unanchored patterns.
#[derive(Debug, Default)]
pub(crate) struct DeviceFilter {
    exclude: Option<Pattern>,
    include: Option<Pattern>,
}

/// The flags of one filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterFlags {
    pub exclude: &'static str,
    pub include: &'static str,
    pub former_exclude: Option<&'static str>,
    pub former_include: Option<&'static str>,
}

impl DeviceFilter {
    /// Reads the flags. An include pattern disables the default exclude pattern. Giving both is an error, and so is giving
    /// a flag together with its former name.
    pub(crate) fn from_flags(
        context: &BuildContext<'_>,
        flags: FilterFlags,
    ) -> Result<Self, BuildError> {
        let exclude = given(context, flags.exclude, flags.former_exclude)?;
        let include = given(context, flags.include, flags.former_include)?;
        if exclude.is_some() && include.is_some() {
            return Err(BuildError::Exclusive(flags.exclude, flags.include));
        }
        let exclude = match (exclude, include) {
            (Some(pattern), _) => pattern,
            (None, Some(_)) => "",
            // An empty exclude pattern replaces the default: nothing is left out.
            (None, None) => context.value(flags.exclude),
        };
        Ok(Self {
            exclude: compile(flags.exclude, exclude)?,
            include: compile(flags.include, include.unwrap_or_default())?,
        })
    }

    /// Reads a pair of flags that may be combined: a name is shown if it is included and not excluded.
    pub(crate) fn from_both(
        context: &BuildContext<'_>,
        exclude: &'static str,
        include: &'static str,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            exclude: context.pattern(exclude)?,
            include: context.pattern(include)?,
        })
    }

    /// Whether to leave out this name.
    pub(crate) fn ignores(&self, name: &[u8]) -> bool {
        self.exclude
            .as_ref()
            .is_some_and(|pattern| pattern.is_match(name))
            || self
                .include
                .as_ref()
                .is_some_and(|pattern| !pattern.is_match(name))
    }
}

/// Returns the pattern given under a flag's present or former name, unless it is empty.
fn given<'a>(
    context: &BuildContext<'a>,
    flag: &'static str,
    former: Option<&'static str>,
) -> Result<Option<&'a str>, BuildError> {
    let former = former.and_then(|former| context.given(former).map(|pattern| (former, pattern)));
    let pattern = match (context.given(flag), former) {
        (Some(_), Some((former, pattern))) if !pattern.is_empty() => {
            return Err(BuildError::Exclusive(former, flag));
        }
        (None, Some((_, pattern))) => Some(pattern),
        (pattern, _) => pattern,
    };
    Ok(pattern.filter(|pattern| !pattern.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::{OptionSpec, Settings};

    const FLAGS: FilterFlags = FilterFlags {
        exclude: "x.exclude",
        include: "x.include",
        former_exclude: Some("x.ignored"),
        former_include: None,
    };
    const OPTIONS: &[OptionSpec] = &[
        OptionSpec::pattern("x.exclude", "^default", "h"),
        OptionSpec::pattern("x.include", "", "h"),
        OptionSpec::former("x.ignored", "x.exclude"),
    ];

    fn filter(given: &[(&'static str, &str)]) -> Result<DeviceFilter, BuildError> {
        let mut settings = Settings::default();
        settings.options.extend(
            given
                .iter()
                .map(|(flag, value)| (*flag, (*value).to_owned())),
        );
        DeviceFilter::from_flags(&BuildContext::new(&settings, OPTIONS), FLAGS)
    }

    #[test]
    fn the_default_excludes_until_something_is_given() {
        assert!(filter(&[]).unwrap().ignores(b"default1"));
        assert!(!filter(&[]).unwrap().ignores(b"sda"));
        assert!(!filter(&[("x.exclude", "")]).unwrap().ignores(b"default1"));
        assert!(!filter(&[("x.exclude", "sd")]).unwrap().ignores(b"default1"));
        assert!(
            filter(&[("x.ignored", "sd")]).unwrap().ignores(b"a_sda"),
            "patterns are not anchored"
        );
        let included = filter(&[("x.include", "^default")]).unwrap();
        assert!(!included.ignores(b"default1"));
        assert!(included.ignores(b"sda"));
    }

    #[test]
    fn where_both_may_be_given_both_count() {
        let mut settings = Settings::default();
        settings.options.insert("x.exclude", "1$".into());
        settings.options.insert("x.include", "^eth".into());
        let context = BuildContext::new(&settings, OPTIONS);
        let filter = DeviceFilter::from_both(&context, "x.exclude", "x.include").unwrap();
        assert!(!filter.ignores(b"eth0"));
        assert!(filter.ignores(b"eth1") && filter.ignores(b"lo"));
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let error = filter(&[("x.exclude", "a"), ("x.include", "b")])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "--x.exclude and --x.include are mutually exclusive: give only one of them"
        );
        let error = filter(&[("x.exclude", "a"), ("x.ignored", "b")])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "--x.ignored and --x.exclude are mutually exclusive: give only one of them"
        );
    }
}
