//! The flags of the network collectors, and the collectors that are off by default.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use std::path::Path;

use secure_exporter::collect::Settings;
use secure_exporter::collectors::TABLE;
use secure_exporter::scrape::Registry;

/// The samples of one collector on the captured host with these flags.
fn samples(collector: &str, flags: &[(&'static str, &str)]) -> Vec<String> {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    let mut settings = Settings {
        procfs: fixtures.join("proc"),
        sysfs: fixtures.join("sys"),
        ..Settings::default()
    };
    settings.enabled = TABLE
        .iter()
        .map(|spec| spec.name)
        .filter(|name| *name == collector)
        .collect();
    let flags = flags
        .iter()
        .map(|(flag, value)| (*flag, (*value).to_owned()));
    settings.options.extend(flags);
    let mut body = Vec::new();
    Registry::new(&settings).unwrap().scrape(&mut body);
    let text = String::from_utf8(body).unwrap();
    text.lines()
        .filter(|line| !line.starts_with(['#']) && !line.starts_with("node_scrape_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn arp_entries_come_from_the_kernel_or_from_the_file() {
    let exclude = ("collector.arp.device-exclude", "^br");
    let file = ("collector.arp.netlink", "false");
    assert_eq!(
        samples("arp", &[file, exclude]),
        ["node_arp_entries{device=\"eth0\"} 2"]
    );
    assert_ne!(
        samples("arp", &[]),
        samples("arp", &[file]),
        "this machine's own neighbours"
    );
}

#[test]
fn detailed_counters_have_the_kernels_names() {
    let detailed = ("collector.netdev.enable-detailed-metrics", "true");
    let details = samples("netdev", &[detailed]);
    for line in [
        "node_network_collisions_total{device=\"eth0\"} 3000",
        "node_network_receive_dropped_total{device=\"eth0\"} 3005",
        "node_network_receive_nohandler_total{device=\"eth0\"} 12",
        "node_network_transmit_window_errors_total{device=\"eth0\"} 3022",
    ] {
        assert!(details.contains(&line.to_owned()), "{line} in {details:#?}");
    }
    assert_eq!(
        details
            .iter()
            .filter(|line| line.contains("\"eth0\""))
            .count(),
        24
    );

    let file = ("collector.netdev.netlink", "false");
    let sums = samples("netdev", &[detailed, file]);
    assert!(sums.contains(&"node_network_receive_dropped_total{device=\"eth0\"} 27".to_owned()));
    assert!(sums.contains(&"node_network_receive_frame_total{device=\"eth0\"} 4".to_owned()));
    assert!(
        !samples("netdev", &[file])
            .iter()
            .any(|line| line.contains("nohandler"))
    );
}

#[test]
fn an_alias_becomes_a_label_of_devices_that_sysfs_knows() {
    let aliased = samples("netdev", &[("collector.netdev.label-ifalias", "true")]);
    for line in [
        "node_network_receive_drop_total{device=\"eth0\",ifalias=\"uplink \\\"a\\\"\"} 27",
        "node_network_receive_drop_total{device=\"lo\",ifalias=\"\"} 0",
        "node_network_receive_drop_total{device=\"eth10\"} 0",
        "node_network_receive_nohandler_total{device=\"eth0\",ifalias=\"uplink \\\"a\\\"\"} 12",
    ] {
        assert!(aliased.contains(&line.to_owned()), "{line} in {aliased:#?}");
    }
}

#[test]
fn addresses_are_shown_when_asked_for() {
    let loopback = "node_network_address_info{address=\"127.0.0.1\",device=\"lo\",netmask=\"8\",scope=\"link-local\"} 1";
    let flag = ("collector.netdev.address-info", "true");
    assert!(samples("netdev", &[flag]).contains(&loopback.to_owned()));
    assert!(!samples("netdev", &[]).contains(&loopback.to_owned()));
    let exclude = ("collector.netdev.device-exclude", "^lo$");
    assert!(!samples("netdev", &[flag, exclude]).contains(&loopback.to_owned()));
}

#[test]
fn network_devices_and_fields_can_be_chosen() {
    let ignored = ("collector.netclass.ignored-devices", "^(lo|bond.*)$");
    let left = samples("netclass", &[ignored]);
    assert!(!left.is_empty() && left.iter().all(|line| line.contains("device=\"eth0\"")));

    let unknown = "node_network_speed_bytes{device=\"bond0\"} -125000".to_owned();
    assert!(samples("netclass", &[]).contains(&unknown));
    let valid = ("collector.netclass.ignore-invalid-speed", "true");
    assert!(!samples("netclass", &[valid]).contains(&unknown));

    assert_eq!(
        samples("netstat", &[("collector.netstat.fields", "^Tcp_MaxConn$")]),
        ["node_netstat_Tcp_MaxConn -1"]
    );
    let none = ("collector.infiniband.device-exclude", "^mlx5");
    assert!(samples("infiniband", &[none]).is_empty());
}

#[test]
fn backends_are_added_up_by_the_labels_that_are_shown() {
    let flag = "collector.ipvs.backend-labels";
    let sums = samples("ipvs", &[(flag, "local_port,proto")]);
    assert!(sums.contains(
        &"node_ipvs_backend_connections_active{local_port=\"443\",proto=\"TCP\"} 26".to_owned()
    ));
    let all = samples("ipvs", &[(flag, "")]);
    assert!(all.contains(&"node_ipvs_backend_connections_active 29".to_owned()));
}

#[test]
fn processes_and_threads_are_counted_by_state() {
    assert_eq!(
        samples("processes", &[]),
        [
            "node_processes_max_processes 4.194304e+06",
            "node_processes_max_threads 7801",
            "node_processes_pids 2",
            "node_processes_state{state=\"R\"} 1",
            "node_processes_state{state=\"S\"} 1",
            "node_processes_threads 4",
            "node_processes_threads_state{thread_state=\"D\"} 1",
            "node_processes_threads_state{thread_state=\"R\"} 1",
            "node_processes_threads_state{thread_state=\"S\"} 2",
        ]
    );
}

#[test]
fn interrupts_can_be_chosen_by_all_their_words() {
    let device = |cpu: u8, count: u64| {
        format!(
            "node_interrupts_total{{cpu=\"{cpu}\",devices=\"5-edge ACPI:Ged\",info=\"IO-APIC\",type=\"24\"}} {count}"
        )
    };
    let include = ("collector.interrupts.name-include", "^24;IO-APIC;5-edge");
    assert_eq!(
        samples("interrupts", &[include]),
        [device(0, 578), device(1, 0)]
    );
    let contradiction = ("collector.interrupts.name-exclude", "ACPI");
    assert!(samples("interrupts", &[include, contradiction]).is_empty());
    let zeros = ("collector.interrupts.include-zeros", "false");
    assert_eq!(samples("interrupts", &[include, zeros]), [device(0, 578)]);
    let exclude = ("collector.interrupts.name-exclude", "^24;");
    assert_eq!(
        samples("interrupts", &[exclude]),
        [
            "node_interrupts_total{cpu=\"0\",devices=\"\",info=\"Non-maskable interrupts\",type=\"NMI\"} 0",
            "node_interrupts_total{cpu=\"1\",devices=\"\",info=\"Non-maskable interrupts\",type=\"NMI\"} 47",
        ]
    );
}

#[test]
fn other_files_of_optional_collectors_are_read() {
    for (collector, count, line) in [
        (
            "softirqs",
            6,
            "node_softirqs_functions_total{cpu=\"1\",type=\"IRQ_POLL\"} 7",
        ),
        (
            "lnstat",
            40,
            "node_lnstat_hits_total{cpu=\"1\",subsystem=\"arp_cache\"} 255",
        ),
        (
            "lnstat",
            40,
            "node_lnstat_early_drop_total{cpu=\"0\",subsystem=\"nf_conntrack\"} 4",
        ),
        ("xfrm", 28, "node_xfrm_acquire_error_packets_total 24532"),
    ] {
        let found = samples(collector, &[]);
        assert_eq!(found.len(), count, "{found:#?}");
        assert!(found.contains(&line.to_owned()), "{line} in {found:#?}");
    }
}

#[test]
fn the_kernel_reports_this_machine_over_netlink() {
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let starts = |collector: &str, start: &str, flags: &[(&'static str, &str)]| {
        samples(collector, flags)
            .iter()
            .any(|line| line.starts_with(start))
    };
    assert!(starts(
        "tcpstat",
        "node_tcp_connection_states{state=\"listen\"} ",
        &[]
    ));
    let loopback = "node_qdisc_bytes_total{device=\"lo\",kind=\"";
    assert!(starts("qdisc", loopback, &[]));
    let exclude = ("collector.qdisc.device-exclude", "^lo$");
    assert!(!starts("qdisc", loopback, &[exclude]));
    // If some device has a driver; the loopback device has none.
    let drivers = samples("ethtool", &[("collector.ethtool.device-exclude", "^lo$")]);
    assert!(drivers.iter().all(|line| !line.contains("\"lo\"")));
    let info = drivers
        .iter()
        .any(|line| line.starts_with("node_ethtool_info{bus_info="));
    assert!(info || drivers.is_empty(), "{drivers:#?}");
    assert!(samples("network_route", &[]).iter().all(|line| {
        line.starts_with("node_network_route_info{dest=")
            || line.starts_with("node_network_routes{device=")
    }));
}

#[test]
fn network_devices_can_be_asked_for_over_netlink() {
    let netlink = ("collector.netclass.netlink", "true");
    let statistics = ("collector.netclass_rtnl.with-stats", "true");
    let plain = samples("netclass", &[netlink]);
    for line in [
        "node_network_iface_id{device=\"lo\"} 1",
        "node_network_mtu_bytes{device=\"lo\"} 65536",
        "node_network_address_assign_type{device=\"lo\"} 0",
    ] {
        assert!(plain.contains(&line.to_owned()), "{line} in {plain:#?}");
    }
    assert!(
        !plain
            .iter()
            .any(|line| line.starts_with("node_network_receive_"))
    );
    let traffic = "node_network_receive_bytes_total{device=\"lo\"} ";
    assert!(
        samples("netclass", &[netlink, statistics])
            .iter()
            .any(|line| line.starts_with(traffic))
    );
    let ignored = ("collector.netclass.ignored-devices", "^lo$");
    assert!(
        !samples("netclass", &[netlink, ignored])
            .iter()
            .any(|line| line.contains("device=\"lo\""))
    );
}

#[test]
fn traffic_is_shown_by_one_collector_only() {
    let mut settings = Settings::default();
    for flag in [
        "collector.netclass.netlink",
        "collector.netclass_rtnl.with-stats",
    ] {
        settings.options.insert(flag, "true".into());
    }
    let error = Registry::new(&settings).unwrap_err().to_string();
    assert_eq!(
        error,
        "--collector.netclass_rtnl.with-stats and --collector.netdev are mutually exclusive: give only one of them"
    );
    settings.enabled.remove("netdev");
    Registry::new(&settings).unwrap();
}
