//! `os`: the distribution of the host, from its `os-release`.

use std::path::PathBuf;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, ReadError, lines, read_attribute, trim};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "os",
    default_enabled: true,
    summary: "The distribution, its version and the end of its support, from os-release.",
    options: &[],
    build,
};

const FILES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// The labels in order, each with the variable of the file that it shows.
const LABELS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];

struct Os {
    rootfs: PathBuf,
    buffer: Vec<u8>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Os {
        rootfs: context.settings().rootfs.clone(),
        buffer: Vec::new(),
    }))
}

impl Collector for Os {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let [etc, lib] = FILES.map(|file| self.rootfs.join(file));
        // Packages replace the file by renaming, so it is not kept open.
        let bytes = match read_attribute(&etc, &mut self.buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                read_attribute(&lib, &mut self.buffer)
                    .map_err(|source| CollectError::optional(ReadError::new(&lib, source)))?
            }
            other => other.map_err(|source| ReadError::new(&etc, source))?,
        };
        write(&Release::parse(bytes), out)
    }
}

/// The variables of an `os-release` file.
struct Release {
    variables: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Release {
    fn parse(bytes: &[u8]) -> Self {
        let assignment = |line: &[u8]| {
            let line = trim(line);
            let equals = line.iter().position(|&byte| byte == b'=')?;
            let (name, [_, value @ ..]) = line.split_at_checked(equals)? else {
                return None;
            };
            (!name.starts_with(b"#")).then(|| (trim(name).to_vec(), unquote(trim(value))))
        };
        Self {
            variables: lines(bytes).filter_map(assignment).collect(),
        }
    }

    /// A variable's value, the last one if there are several; empty if there is none.
    fn get(&self, name: &str) -> &[u8] {
        let mut found = self.variables.iter().rev();
        found
            .find(|(variable, _)| variable == name.as_bytes())
            .map_or(b"", |(_, value)| value)
    }
}

/// Parses a value like a shell: with or without quotes, and with backslashes outside single quotes.
fn unquote(text: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(text.len());
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\'' | b'"', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            (b'\\', None | Some(b'"')) => value.extend(bytes.next()),
            _ => value.push(byte),
        }
    }
    value
}

fn write(release: &Release, out: &mut Exposition) -> Result<(), CollectError> {
    let labels = LABELS.map(|(label, variable)| (label, release.get(variable)));
    let help = "Information about the distribution of the host, in labels.";
    out.family(&["node_os_info"], &[help], MetricKind::Gauge)
        .sample(&labels, 1);
    if let Some(version) = major_minor(release.get("VERSION_ID")) {
        let labels = [
            ("id", release.get("ID")),
            ("id_like", release.get("ID_LIKE")),
            ("name", release.get("NAME")),
        ];
        let help = "Version of the distribution as a number, MAJOR.MINOR.";
        out.family(&["node_os_version"], &[help], MetricKind::Gauge)
            .sample(&labels, version);
    }
    let end = release.get("SUPPORT_END");
    if end.is_empty() {
        return Ok(());
    }
    let seconds = midnight(end).ok_or_else(|| CollectError::malformed("os-release", end))?;
    let help = "End of support of the distribution, in seconds since the epoch.";
    let name = "node_os_support_end_timestamp_seconds";
    out.family(&[name], &[help], MetricKind::Gauge)
        .sample(&[], seconds as f64);
    Ok(())
}

/// The number at the start of a version such as `22.04.1`: digits, optionally followed by a point and more digits.
fn major_minor(version: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(version).ok()?;
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let major = digits(text);
    let minor = match text.get(major..)?.strip_prefix('.') {
        Some(rest) => 1 + digits(rest),
        None => 0,
    };
    let number = text.get(..major)?;
    if number.is_empty() {
        return None;
    }
    let number = text.get(..major + minor)?.trim_end_matches('.');
    number.parse().ok().filter(|version| *version > 0.0)
}

/// The start of a day such as `2027-06-30` in UTC, in seconds since the epoch.
fn midnight(date: &[u8]) -> Option<i64> {
    let date: Date = std::str::from_utf8(date).ok()?.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_as_a_shell_reads_them() {
        let release = Release::parse(
            b"# ID=no\nID=debian\nNAME=\"A \\\"B\\\" \\$C\"\nVERSION='1 \\ 2'\nNAME2=x\n\nnothing\n",
        );
        assert_eq!(release.get("ID"), b"debian");
        assert_eq!(release.get("NAME"), b"A \"B\" $C");
        assert_eq!(release.get("VERSION"), b"1 \\ 2");
        assert_eq!(release.get("nothing"), b"");
    }

    #[test]
    fn versions_and_dates() {
        assert_eq!(major_minor(b"22.04.1"), Some(22.04));
        assert_eq!(major_minor(b"12"), Some(12.0));
        assert_eq!(major_minor(b"12."), Some(12.0));
        assert_eq!(major_minor(b"rolling"), None);
        assert_eq!(major_minor(b""), None);
        assert_eq!(midnight(b"1970-01-02"), Some(86_400));
        assert_eq!(midnight(b"soon"), None);
    }
}
