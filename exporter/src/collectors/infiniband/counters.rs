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

/// What a file counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// What its metric counts.
    One,
    /// Words of four bytes; the metric counts bytes.
    Words,
    /// The metric has whole seconds, and is no counter.
    Milliseconds,
}

impl Unit {
    /// The metric's value. Like the adapter's own registers it starts at zero again when it overflows.
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
        "Requests received that had been carried out before.",
    ),
    counter(
        "excessive_buffer_overrun_errors",
        "excessive_buffer_overrun_errors_total",
        "Overruns of the receive buffers in too many successive periods.",
    ),
    hardware(
        "implied_nak_seq_err",
        "implied_nak_seq_errors_total",
        "Answers to reads that came with a later sequence number than awaited.",
    ),
    extended(
        "port_rcv_data_64",
        "legacy_data_received_bytes_total",
        "Bytes received, by the extended counters of older drivers.",
    )
    .in_words(),
    extended(
        "port_xmit_data_64",
        "legacy_data_transmitted_bytes_total",
        "Bytes sent, by the extended counters of older drivers.",
    )
    .in_words(),
    extended(
        "port_multicast_rcv_packets",
        "legacy_multicast_packets_received_total",
        "Multicast packets received, by the extended counters of older drivers.",
    ),
    extended(
        "port_multicast_xmit_packets",
        "legacy_multicast_packets_transmitted_total",
        "Multicast packets sent, by the extended counters of older drivers.",
    ),
    extended(
        "port_rcv_packets_64",
        "legacy_packets_received_total",
        "Packets received, by the extended counters of older drivers.",
    ),
    extended(
        "port_xmit_packets_64",
        "legacy_packets_transmitted_total",
        "Packets sent, by the extended counters of older drivers.",
    ),
    extended(
        "port_unicast_rcv_packets",
        "legacy_unicast_packets_received_total",
        "Unicast packets received, by the extended counters of older drivers.",
    ),
    extended(
        "port_unicast_xmit_packets",
        "legacy_unicast_packets_transmitted_total",
        "Unicast packets sent, by the extended counters of older drivers.",
    ),
    hardware(
        "lifespan",
        "lifespan_seconds",
        "Seconds for which the adapter may answer with the same counters.",
    )
    .in_milliseconds(),
    counter(
        "link_downed",
        "link_downed_total",
        "Errors that the link did not recover from.",
    ),
    counter(
        "link_error_recovery",
        "link_error_recovery_total",
        "Errors that the link recovered from.",
    ),
    hardware(
        "local_ack_timeout_err",
        "local_ack_timeout_errors_total",
        "Acknowledgements that the sender did not get in time.",
    ),
    counter(
        "local_link_integrity_errors",
        "local_link_integrity_errors_total",
        "Times that local physical errors passed their limit.",
    ),
    counter(
        "multicast_rcv_packets",
        "multicast_packets_received_total",
        "Multicast packets received, with errors included.",
    ),
    counter(
        "multicast_xmit_packets",
        "multicast_packets_transmitted_total",
        "Multicast packets sent, with errors included.",
    ),
    hardware(
        "np_cnp_sent",
        "np_cnp_packets_sent_total",
        "Congestion notifications sent by the receiver of congested traffic.",
    ),
    hardware(
        "np_ecn_marked_roce_packets",
        "np_ecn_marked_roce_packets_received_total",
        "Packets received with the mark of congestion.",
    ),
    hardware(
        "out_of_buffer",
        "out_of_buffer_drops_total",
        "Packets dropped because a queue pair had no receive buffer.",
    ),
    hardware(
        "out_of_sequence",
        "out_of_sequence_packets_received_total",
        "Packets received out of sequence.",
    ),
    hardware(
        "packet_seq_err",
        "packet_sequence_errors_total",
        "Complaints received about the sequence of packets.",
    ),
    counter(
        "port_rcv_constraint_errors",
        "port_constraint_errors_received_total",
        "Packets received that the port may not accept.",
    ),
    counter(
        "port_xmit_constraint_errors",
        "port_constraint_errors_transmitted_total",
        "Packets that the port may not send.",
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
        "Packets received, with errors included.",
    ),
    counter(
        "port_xmit_packets",
        "port_packets_transmitted_total",
        "Packets sent, with errors included.",
    ),
    counter(
        "port_rcv_remote_physical_errors",
        "port_receive_remote_physical_errors_total",
        "Packets received that the other side had marked as bad.",
    ),
    counter(
        "port_rcv_switch_relay_errors",
        "port_receive_switch_relay_errors_total",
        "Packets that the switch could not pass on.",
    ),
    counter(
        "port_xmit_wait",
        "port_transmit_wait_total",
        "Ticks in which data waited and nothing was sent.",
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
        "Errors of remote access at the requester.",
    ),
    hardware(
        "req_remote_invalid_request",
        "req_remote_invalid_request_errors_total",
        "Requests that the other side found invalid.",
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
        "Errors of local length at the responder.",
    ),
    hardware(
        "resp_remote_access_errors",
        "resp_remote_access_errors_total",
        "Errors of remote access at the responder.",
    ),
    hardware(
        "rnr_nak_retry_err",
        "rnr_nak_retry_packets_received_total",
        "Refusals received because the receiver was not ready.",
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
        "Congestion notifications made by slow restart.",
    ),
    hardware(
        "roce_slow_restart_trans",
        "roce_slow_restart_total",
        "Changes of state to slow restart.",
    ),
    hardware(
        "roce_slow_restart",
        "roce_slow_restart_used_total",
        "Uses of slow restart.",
    ),
    hardware(
        "rp_cnp_ignored",
        "rp_cnp_ignored_packets_received_total",
        "Congestion notifications received and ignored.",
    ),
    hardware(
        "rp_cnp_handled",
        "rp_cnp_packets_handled_total",
        "Congestion notifications received and heeded.",
    ),
    hardware(
        "rx_atomic_requests",
        "rx_atomic_requests_total",
        "Atomic requests received.",
    ),
    hardware(
        "rx_dct_connect",
        "rx_dct_connect_requests_total",
        "Requests to connect a dynamic transport received.",
    ),
    hardware(
        "rx_icrc_encapsulated",
        "rx_icrc_encapsulated_errors_total",
        "RoCE packets received with a wrong checksum.",
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
        "Minor errors of the link on any lane.",
    ),
    counter(
        "unicast_rcv_packets",
        "unicast_packets_received_total",
        "Unicast packets received, with errors included.",
    ),
    counter(
        "unicast_xmit_packets",
        "unicast_packets_transmitted_total",
        "Unicast packets sent, with errors included.",
    ),
    counter(
        "VL15_dropped",
        "vl15_dropped_total",
        "Packets of subnet management dropped for want of resources.",
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

/// What older drivers count in 64 bits.
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
