//! `sysctl`: selected kernel parameters, from `/proc/sys`.

use crate::collect::samples::{Samples, gather, metric_name};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, parse_signed};

const INCLUDE: &str = "collector.sysctl.include";
const INCLUDE_INFO: &str = "collector.sysctl.include-info";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "sysctl",
    default_enabled: false,
    summary: "Selected kernel parameters, from /proc/sys.",
    options: &[
        OptionSpec::texts(
            INCLUDE,
            "Kernel parameter to show as a number, such as kernel.pid_max, or fs.file-nr:total,current,max to name its parts.",
        ),
        OptionSpec::texts(
            INCLUDE_INFO,
            "Kernel parameter to show as text, in a label.",
        ),
    ],
    build,
};

struct Sysctl {
    settings: Vec<Setting>,
}

/// A kernel parameter to show.
struct Setting {
    name: String,
    /// The names of its parts; without them parts are numbered.
    parts: Vec<String>,
    numeric: bool,
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let setting = |text: &str, numeric| {
        let (name, parts) = text.split_once(':').unwrap_or((text, ""));
        let parts = parts.split(',').filter(|part| !part.is_empty());
        Setting {
            name: name.to_owned(),
            parts: parts.map(str::to_owned).collect(),
            numeric,
            file: KeptFile::new(context.procfs("sys").join(below(name))),
        }
    };
    let numbers = context.texts(INCLUDE).map(|text| setting(text, true));
    let texts = context.texts(INCLUDE_INFO).map(|text| setting(text, false));
    Ok(Box::new(Sysctl {
        settings: numbers.chain(texts).collect(),
    }))
}

/// The path of a parameter below `/proc/sys`. Without dots and a leading slash it cannot lead anywhere else.
fn below(name: &str) -> String {
    name.replace('.', "/").trim_start_matches('/').to_owned()
}

impl Collector for Sysctl {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        gather(out, |samples| {
            for setting in &mut self.settings {
                let read = setting.add(samples);
                samples.skipped.part(read);
            }
            Ok(())
        })
    }
}

impl Setting {
    fn add(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let bytes = self.file.read()?;
        let values: Vec<&[u8]> = fields(bytes).collect();
        let parts = if self.numeric { values.len() } else { 0 };
        if values.is_empty() || (!self.parts.is_empty() && self.parts.len() != parts) {
            let (name, named, found) = (&self.name, self.parts.len(), values.len());
            return Err(CollectError::Malformed {
                file: "sys",
                what: format!("{name} has {found} values, but --{INCLUDE} names {named}"),
            });
        }
        for (place, value) in values.iter().enumerate() {
            let index = place.to_string();
            if !self.numeric {
                let labels = [
                    ("index", index.as_bytes()),
                    ("name", self.name.as_bytes()),
                    ("value", value),
                ];
                let help = "Kernel parameter with a text value, in labels.";
                samples.gauge("node_sysctl_info", help, &labels, 1);
                continue;
            }
            let number =
                parse_signed(value).ok_or_else(|| CollectError::malformed("sys", value))?;
            let name = format!("node_sysctl_{}", metric_name(&self.name));
            let help = format!("Kernel parameter {}.", self.name);
            let (name, labels) = match self.parts.get(place) {
                Some(part) => (format!("{name}_{part}"), None),
                None => (
                    name,
                    Some(("index", index.as_bytes())).filter(|_| values.len() > 1),
                ),
            };
            samples.add(MetricKind::Untyped, name, help, labels.as_slice(), number);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Settings;
    use std::time::Duration;

    #[test]
    fn no_name_leads_out_of_the_settings_of_the_kernel() {
        let procfs = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(procfs.path().join("sys/kernel")).unwrap();
        std::fs::write(procfs.path().join("sys/kernel/ostype"), "Linux\n").unwrap();
        let mut settings = Settings {
            procfs: procfs.path().to_owned(),
            ..Settings::default()
        };
        let mut collect = |name: &str| {
            settings.options.insert(INCLUDE_INFO, name.to_owned());
            let mut collector = build(&BuildContext::new(&settings, SPEC.options)).unwrap();
            collector.collect(
                &mut Exposition::default(),
                Deadline::after(Duration::from_secs(9)),
            )
        };
        collect("kernel.ostype").unwrap();
        collect("/kernel/ostype").unwrap();
        for name in [
            "/etc/passwd",
            "//etc/passwd",
            "../../../../../../etc/passwd",
        ] {
            assert!(collect(name).is_err(), "{name}");
        }
    }
}
