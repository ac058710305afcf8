//! `vmstat`: selected counters of `/proc/vmstat`.

use crate::collect::field_selection::FieldSelection;
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind, Value};
use crate::sources::{Deadline, KeptFile, fields, lines};

const FIELDS: &str = "collector.vmstat.fields";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "vmstat",
    default_enabled: true,
    summary: "Virtual memory statistics, from /proc/vmstat.",
    options: &[OptionSpec::pattern(
        FIELDS,
        "^(oom_kill|pgpg|pswp|pg.*fault).*",
        "Regular expression of the fields of /proc/vmstat to show.",
    )],
    build,
};

const FILE: &str = "vmstat";

struct Vmstat {
    file: KeptFile,
    selection: FieldSelection,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let selection = FieldSelection::new(context.pattern(FIELDS)?);
    Ok(Box::new(Vmstat {
        file: KeptFile::new(context.procfs(FILE)),
        selection,
    }))
}

impl Collector for Vmstat {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        write(self.file.read()?, &mut self.selection, out)
    }
}

fn write(
    bytes: &[u8],
    selection: &mut FieldSelection,
    out: &mut Exposition,
) -> Result<(), CollectError> {
    let mut skipped = Skipped::default();
    let mut place = 0;
    for line in lines(bytes) {
        let Some((name, value)) = skipped.line(FILE, line, parse(line)) else {
            continue;
        };
        place += 1;
        if !selection.shows(place - 1, name.as_bytes()) {
            continue;
        }
        out.family(
            &["node_vmstat_", name],
            &["Field ", name, " from /proc/vmstat."],
            MetricKind::Untyped,
        )
        .sample(&[], value);
    }
    skipped.result()
}

fn parse(line: &[u8]) -> Option<(&str, Value)> {
    let mut parts = fields(line);
    let name = std::str::from_utf8(parts.next()?).ok()?;
    Some((name, Value::parse(parts.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Pattern;

    fn names(bytes: &[u8], selection: &mut FieldSelection) -> Vec<String> {
        let mut out = Exposition::default();
        write(bytes, selection, &mut out).unwrap();
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_pattern_selects_and_a_changed_file_is_matched_again() {
        let pattern = Some(Pattern::new("^(oom_kill|pgpg).*").unwrap());
        let mut selection = FieldSelection::new(pattern);
        for _ in 0..2 {
            assert_eq!(
                names(b"nr_free 5\npgpgin 7\noom_kill 0\n", &mut selection),
                ["node_vmstat_oom_kill 0", "node_vmstat_pgpgin 7"]
            );
        }
        assert_eq!(
            names(b"pgpgout 9\nnr_free 5\n", &mut selection),
            ["node_vmstat_pgpgout 9"]
        );
    }

    #[test]
    fn a_line_without_a_number_is_an_error() {
        let mut selection = FieldSelection::new(None);
        let error = write(b"pgpgin\n", &mut selection, &mut Exposition::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "vmstat has an unexpected format: cannot read the line \"pgpgin\""
        );
    }
}
