//! `xfrm`: packets dropped by IPsec, by reason, from `/proc/net/xfrm_stat`.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "xfrm",
    default_enabled: false,
    summary: "Packets dropped by IPsec, from /proc/net/xfrm_stat.",
    options: &[],
    build,
};

const FILE: &str = "net/xfrm_stat";
/// The counters: the kernel's name and the middle of the metric's.
const COUNTERS: [(&str, &str); 28] = [
    ("XfrmAcquireError", "acquire_error"),
    ("XfrmFwdHdrError", "fwd_hdr_error"),
    ("XfrmInBufferError", "in_buffer_error"),
    ("XfrmInError", "in_error"),
    ("XfrmInHdrError", "in_hdr_error"),
    ("XfrmInNoPols", "in_no_pols"),
    ("XfrmInNoStates", "in_no_states"),
    ("XfrmInPolBlock", "in_pol_block"),
    ("XfrmInPolError", "in_pol_error"),
    ("XfrmInStateExpired", "in_state_expired"),
    ("XfrmInStateInvalid", "in_state_invalid"),
    ("XfrmInStateMismatch", "in_state_mismatch"),
    ("XfrmInStateModeError", "in_state_mode_error"),
    ("XfrmInStateProtoError", "in_state_proto_error"),
    ("XfrmInStateSeqError", "in_state_seq_error"),
    ("XfrmInTmplMismatch", "in_tmpl_mismatch"),
    ("XfrmOutBundleCheckError", "out_bundle_check_error"),
    ("XfrmOutBundleGenError", "out_bundle_gen_error"),
    ("XfrmOutError", "out_error"),
    ("XfrmOutNoStates", "out_no_states"),
    ("XfrmOutPolBlock", "out_pol_block"),
    ("XfrmOutPolDead", "out_pol_dead"),
    ("XfrmOutPolError", "out_pol_error"),
    ("XfrmOutStateExpired", "out_state_expired"),
    ("XfrmOutStateInvalid", "out_state_invalid"),
    ("XfrmOutStateModeError", "out_state_mode_error"),
    ("XfrmOutStateProtoError", "out_state_proto_error"),
    ("XfrmOutStateSeqError", "out_state_seq_error"),
];

struct Xfrm {
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let file = KeptFile::new(context.procfs(FILE));
    Ok(Box::new(Xfrm { file }))
}

impl Collector for Xfrm {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let counts = parse(self.file.read()?, &mut skipped);
        for ((kernel, name), count) in COUNTERS.into_iter().zip(counts) {
            let Some(count) = count else {
                continue;
            };
            out.family(
                &["node_xfrm_", name, "_packets_total"],
                &["Packets dropped by IPsec, counted as ", kernel, "."],
                MetricKind::Counter,
            )
            .sample(&[], count);
        }
        skipped.result()
    }
}

/// The counts in the order of [`COUNTERS`]. Those that the kernel does not have yet are 0; those of lines that cannot be
/// read are `None`.
fn parse(bytes: &[u8], skipped: &mut Skipped) -> [Option<u64>; COUNTERS.len()] {
    let mut counts = [Some(0); COUNTERS.len()];
    for line in lines(bytes) {
        let mut parts = fields(line);
        let name = parts.next().unwrap_or_default();
        let count = skipped.line(FILE, line, parts.next().and_then(parse_u64));
        let known = COUNTERS
            .iter()
            .position(|(kernel, _)| kernel.as_bytes() == name);
        if let Some(slot) = known.and_then(|place| counts.get_mut(place)) {
            *slot = count;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8]) -> Result<[Option<u64>; COUNTERS.len()], CollectError> {
        whole(|skipped| crate::collectors::xfrm::parse(bytes, skipped))
    }

    #[test]
    fn unknown_counters_are_passed_over_and_absent_ones_are_zero() {
        let counts = parse(b"XfrmAcquireError 3\nXfrmFuture 9\nXfrmInError 4\n").unwrap();
        assert_eq!(counts[..5], [3, 0, 0, 4, 0].map(Some));
        assert!(parse(b"XfrmInError\n").is_err());
        assert!(parse(b"XfrmInError x\n").is_err());
    }
}
