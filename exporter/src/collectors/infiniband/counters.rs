//! The counters of an InfiniBand port.

/// A counter's file and its metric.
#[derive(Debug)]
pub(super) struct Counter {
    /// The directory below the port.
    pub directory: &'static str,
    pub file: &'static str,
    /// The metric's name after `node_infiniband_`.
    pub metric: &'static str,
    pub help: &'static str,
    pub unit: Unit,
}

/// The unit of a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// The same as the metric.
    One,
    /// Words of four bytes, while the metric counts bytes.
    Words,
    /// The metric has whole seconds, and is not a counter.
    Milliseconds,
}

impl Unit {
    /// The metric's value. Like the adapter's own registers, it restarts at zero when it overflows.
    pub(super) fn scale(self, count: u64) -> u64 {
        match self {
            Self::One => count,
            Self::Words => count.wrapping_mul(4),
            Self::Milliseconds => count / 1000,
        }
    }
}

/// In order of their metrics.
pub(super) const COUNTERS: [Counter; 60] = [
    hardware(
        "duplicate_request",
        "duplicate_requests_packets_total",
        "Duplicate requests received, which had already been executed.",
    ),
    counter(
        "excessive_buffer_overrun_errors",
        "excessive_buffer_overrun_errors_total",
        "Times that receive buffers overran in too many consecutive flow control periods.",
    ),
    hardware(
        "implied_nak_seq_err",
        "implied_nak_seq_errors_total",
        "Read responses received with a higher sequence number than expected.",
    ),
    extended(
        "port_rcv_data_64",
        "legacy_data_received_bytes_total",
        "Bytes received, from the extended counters of older drivers.",
    )
    .in_words(),
    extended(
        "port_xmit_data_64",
        "legacy_data_transmitted_bytes_total",
        "Bytes sent, from the extended counters of older drivers.",
    )
    .in_words(),
    extended(
        "port_multicast_rcv_packets",
        "legacy_multicast_packets_received_total",
        "Multicast packets received, from the extended counters of older drivers.",
    ),
    extended(
        "port_multicast_xmit_packets",
        "legacy_multicast_packets_transmitted_total",
        "Multicast packets sent, from the extended counters of older drivers.",
    ),
    extended(
        "port_rcv_packets_64",
        "legacy_packets_received_total",
        "Packets received, from the extended counters of older drivers.",
    ),
    extended(
        "port_xmit_packets_64",
        "legacy_packets_transmitted_total",
        "Packets sent, from the extended counters of older drivers.",
    ),
    extended(
        "port_unicast_rcv_packets",
        "legacy_unicast_packets_received_total",
        "Unicast packets received, from the extended counters of older drivers.",
    ),
    extended(
        "port_unicast_xmit_packets",
        "legacy_unicast_packets_transmitted_total",
        "Unicast packets sent, from the extended counters of older drivers.",
    ),
    hardware(
        "lifespan",
        "lifespan_seconds",
        "Maximum age of the counters: reads within this period may return the same values.",
    )
    .in_milliseconds(),
    counter(
        "link_downed",
        "link_downed_total",
        "Times that error recovery failed and the link went down.",
    ),
    counter(
        "link_error_recovery",
        "link_error_recovery_total",
        "Times that the link recovered from an error.",
    ),
    hardware(
        "local_ack_timeout_err",
        "local_ack_timeout_errors_total",
        "Acknowledgements that did not reach the sender in time.",
    ),
    counter(
        "local_link_integrity_errors",
        "local_link_integrity_errors_total",
        "Times that local physical errors exceeded their threshold.",
    ),
    counter(
        "multicast_rcv_packets",
        "multicast_packets_received_total",
        "Multicast packets received, including those with errors.",
    ),
    counter(
        "multicast_xmit_packets",
        "multicast_packets_transmitted_total",
        "Multicast packets sent, including those with errors.",
    ),
    hardware(
        "np_cnp_sent",
        "np_cnp_packets_sent_total",
        "Congestion notification packets sent by the receiver of congested traffic.",
    ),
    hardware(
        "np_ecn_marked_roce_packets",
        "np_ecn_marked_roce_packets_received_total",
        "RoCE packets received that were marked for congestion (ECN).",
    ),
    hardware(
        "out_of_buffer",
        "out_of_buffer_drops_total",
        "Packets dropped because a queue pair had no receive buffer available.",
    ),
    hardware(
        "out_of_sequence",
        "out_of_sequence_packets_received_total",
        "Packets received out of sequence.",
    ),
    hardware(
        "packet_seq_err",
        "packet_sequence_errors_total",
        "Negative acknowledgements received for packet sequence errors.",
    ),
    counter(
        "port_rcv_constraint_errors",
        "port_constraint_errors_received_total",
        "Received packets that the port discarded because of its constraints.",
    ),
    counter(
        "port_xmit_constraint_errors",
        "port_constraint_errors_transmitted_total",
        "Packets that the port did not send because of its constraints.",
    ),
    counter(
        "port_rcv_data",
        "port_data_received_bytes_total",
        "Bytes received.",
    )
    .in_words(),
    counter(
        "port_xmit_data",
        "port_data_transmitted_bytes_total",
        "Bytes sent.",
    )
    .in_words(),
    counter(
        "port_rcv_discards",
        "port_discards_received_total",
        "Incoming packets discarded because the port was down or congested.",
    ),
    counter(
        "port_xmit_discards",
        "port_discards_transmitted_total",
        "Outgoing packets discarded because the port was down or congested.",
    ),
    counter(
        "port_rcv_errors",
        "port_errors_received_total",
        "Packets received with errors.",
    ),
    counter(
        "port_rcv_packets",
        "port_packets_received_total",
        "Packets received, including those with errors.",
    ),
    counter(
        "port_xmit_packets",
        "port_packets_transmitted_total",
        "Packets sent, including those with errors.",
    ),
    counter(
        "port_rcv_remote_physical_errors",
        "port_receive_remote_physical_errors_total",
        "Packets received that the remote port had marked as bad.",
    ),
    counter(
        "port_rcv_switch_relay_errors",
        "port_receive_switch_relay_errors_total",
        "Packets that the switch could not forward.",
    ),
    counter(
        "port_xmit_wait",
        "port_transmit_wait_total",
        "Ticks during which the port had data to send but sent none.",
    ),
    hardware(
        "req_cqe_error",
        "req_cqes_errors_total",
        "Completions with errors at the requester.",
    ),
    hardware(
        "req_cqe_flush_error",
        "req_cqes_flush_errors_total",
        "Completions flushed with errors at the requester.",
    ),
    hardware(
        "req_remote_access_errors",
        "req_remote_access_errors_total",
        "Remote access errors at the requester.",
    ),
    hardware(
        "req_remote_invalid_request",
        "req_remote_invalid_request_errors_total",
        "Requests that the remote side rejected as invalid.",
    ),
    hardware(
        "resp_cqe_error",
        "resp_cqes_errors_total",
        "Completions with errors at the responder.",
    ),
    hardware(
        "resp_cqe_flush_error",
        "resp_cqes_flush_errors_total",
        "Completions flushed with errors at the responder.",
    ),
    hardware(
        "resp_local_length_error",
        "resp_local_length_errors_total",
        "Local length errors at the responder.",
    ),
    hardware(
        "resp_remote_access_errors",
        "resp_remote_access_errors_total",
        "Errors of remote access at the responder.",
    ),
    hardware(
        "rnr_nak_retry_err",
        "rnr_nak_retry_packets_received_total",
        "Negative acknowledgements received because the receiver was not ready.",
    ),
    hardware(
        "roce_adp_retrans_to",
        "roce_adp_retransmits_timeout_total",
        "Timeouts of RoCE traffic during adaptive retransmission.",
    ),
    hardware(
        "roce_adp_retrans",
        "roce_adp_retransmits_total",
        "Adaptive retransmissions of RoCE traffic.",
    ),
    hardware(
        "roce_slow_restart_cnps",
        "roce_slow_restart_cnps_total",
        "Congestion notification packets generated by RoCE slow restart.",
    ),
    hardware(
        "roce_slow_restart_trans",
        "roce_slow_restart_total",
        "Times that RoCE traffic changed to the slow restart state.",
    ),
    hardware(
        "roce_slow_restart",
        "roce_slow_restart_used_total",
        "Times that RoCE slow restart was used.",
    ),
    hardware(
        "rp_cnp_ignored",
        "rp_cnp_ignored_packets_received_total",
        "Congestion notification packets received and ignored.",
    ),
    hardware(
        "rp_cnp_handled",
        "rp_cnp_packets_handled_total",
        "Congestion notification packets received and handled.",
    ),
    hardware(
        "rx_atomic_requests",
        "rx_atomic_requests_total",
        "Atomic requests received.",
    ),
    hardware(
        "rx_dct_connect",
        "rx_dct_connect_requests_total",
        "Connection requests received for dynamically connected transport.",
    ),
    hardware(
        "rx_icrc_encapsulated",
        "rx_icrc_encapsulated_errors_total",
        "RoCE packets received with an invalid checksum (ICRC).",
    ),
    hardware(
        "rx_read_requests",
        "rx_read_requests_total",
        "Read requests received.",
    ),
    hardware(
        "rx_write_requests",
        "rx_write_requests_total",
        "Write requests received.",
    ),
    counter(
        "symbol_error",
        "symbol_error_total",
        "Minor link errors on any lane.",
    ),
    counter(
        "unicast_rcv_packets",
        "unicast_packets_received_total",
        "Unicast packets received, including those with errors.",
    ),
    counter(
        "unicast_xmit_packets",
        "unicast_packets_transmitted_total",
        "Unicast packets sent, including those with errors.",
    ),
    counter(
        "VL15_dropped",
        "vl15_dropped_total",
        "Subnet management packets dropped because of a lack of resources.",
    ),
];

const fn counter(file: &'static str, metric: &'static str, help: &'static str) -> Counter {
    Counter {
        directory: "counters",
        file,
        metric,
        help,
        unit: Unit::One,
    }
}

/// The 64-bit counters of older drivers.
const fn extended(file: &'static str, metric: &'static str, help: &'static str) -> Counter {
    Counter {
        directory: "counters_ext",
        ..counter(file, metric, help)
    }
}

const fn hardware(file: &'static str, metric: &'static str, help: &'static str) -> Counter {
    Counter {
        directory: "hw_counters",
        ..counter(file, metric, help)
    }
}

impl Counter {
    const fn in_words(self) -> Self {
        Self {
            unit: Unit::Words,
            ..self
        }
    }

    const fn in_milliseconds(self) -> Self {
        Self {
            unit: Unit::Milliseconds,
            ..self
        }
    }
}
