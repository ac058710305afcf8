//! `loadavg`: the load averages.

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "loadavg",
    default_enabled: true,
    summary: "Load averages.",
    options: &[],
    build,
};

const FILE: &str = "loadavg";

struct Loadavg {
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Loadavg {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for Loadavg {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read()?;
        let [one, five, fifteen] =
            parse(bytes).ok_or_else(|| CollectError::malformed(FILE, bytes))?;
        for (name, help, load) in [
            ("node_load1", "Load average over one minute.", one),
            ("node_load15", "Load average over fifteen minutes.", fifteen),
            ("node_load5", "Load average over five minutes.", five),
        ] {
            out.family(&[name], &[help], MetricKind::Gauge)
                .sample(&[], load);
        }
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Option<[f64; 3]> {
    let mut loads = fields(bytes).map(|field| std::str::from_utf8(field).ok()?.parse().ok());
    Some([loads.next()??, loads.next()??, loads.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_loads_or_nothing() {
        assert_eq!(
            parse(b"0.21 0.37 12.39 1/719 19737\n"),
            Some([0.21, 0.37, 12.39])
        );
        assert_eq!(parse(b"0.21 0.37\n"), None);
        assert_eq!(parse(b"0.21 x 0.39"), None);
        assert_eq!(parse(b""), None);
    }
}
