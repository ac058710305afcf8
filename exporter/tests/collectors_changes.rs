//! Every scrape shows the host of its own moment, although files stay open and decisions are remembered.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use std::path::{Path, PathBuf};

use secure_exporter::collectors::{Registry, Settings, TABLE};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// A copy of the captured host that may be changed.
struct Host {
    directory: tempfile::TempDir,
    registry: Registry,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        copy(Path::new(FIXTURES), directory.path());
        let at = |name: &str| directory.path().join(name);
        let mut settings = Settings {
            procfs: at("proc"),
            sysfs: at("sys"),
            rootfs: at("root"),
            udev_data: at("udev"),
            options: [("collector.arp.netlink", "false".into())].into(),
            ..Settings::default()
        };
        settings.enabled = TABLE.iter().map(|spec| spec.name).collect();
        Self {
            registry: Registry::new(&settings).unwrap(),
            directory,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let content = std::fs::read_to_string(self.path(file)).unwrap();
        assert!(content.contains(from), "{file} has no {from:?}");
        std::fs::write(self.path(file), content.replacen(from, to, 1)).unwrap();
    }

    fn scrape(&mut self) -> String {
        let mut body = Vec::new();
        self.registry.scrape(&mut body);
        String::from_utf8(body).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_changed_file_is_seen_by_the_next_scrape() {
    let cases = [
        (
            "proc/stat",
            "cpu1 1010",
            "cpu1 2010",
            "node_cpu_seconds_total{cpu=\"1\",mode=\"user\"} 20.1",
        ),
        (
            "proc/stat",
            "ctxt 38014093",
            "ctxt 38014099",
            "node_context_switches_total 3.8014099e+07",
        ),
        ("proc/loadavg", "0.21", "3.5", "node_load1 3.5"),
        (
            "proc/meminfo",
            "MemFree:          440324",
            "MemFree: 1",
            "node_memory_MemFree_bytes 1024",
        ),
        (
            "proc/diskstats",
            "sdb 326552",
            "sdb 326553",
            "node_disk_reads_completed_total{device=\"sdb\"} 326553",
        ),
        (
            "proc/net/dev",
            "eth0:68210035552",
            "eth0:5",
            "node_network_receive_bytes_total{device=\"eth0\"} 5",
        ),
        (
            "proc/vmstat",
            "oom_kill 7",
            "oom_kill 8",
            "node_vmstat_oom_kill 8",
        ),
        (
            "proc/1/mountinfo",
            "/ rw,relatime",
            "/ ro,relatime",
            "node_filesystem_readonly{device=\"/dev/nvme0n1p1\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"} 1",
        ),
        (
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "tsc",
            "hpet",
            "node_time_clocksource_current_info{clocksource=\"hpet\",device=\"0\"} 1",
        ),
        (
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
            "5",
            "6",
            "node_cpu_core_throttles_total{core=\"0\",package=\"0\"} 6",
        ),
        (
            "sys/class/net/eth0/statistics/rx_nohandler",
            "12",
            "13",
            "node_network_receive_nohandler_total{device=\"eth0\"} 13",
        ),
        (
            "proc/net/arp",
            "eth0\n172",
            "br0\n172",
            "node_arp_entries{device=\"br0\"} 2",
        ),
        (
            "sys/class/net/bond0/lower_eth3/bonding_slave/mii_status",
            "down",
            "up",
            "node_bonding_active{master=\"bond0\"} 2",
        ),
        (
            "sys/class/net/bond0/bonding/slaves",
            "eth2 eth3",
            "eth2",
            "node_bonding_slaves{master=\"bond0\"} 1",
        ),
        (
            "proc/sys/net/netfilter/nf_conntrack_count",
            "123",
            "124",
            "node_nf_conntrack_entries 124",
        ),
        (
            "proc/sys/net/netfilter/nf_conntrack_max",
            "65536",
            "65537",
            "node_nf_conntrack_entries_limit 65537",
        ),
        (
            "proc/net/stat/nf_conntrack",
            "00000a01",
            "00000a02",
            "node_nf_conntrack_stat_ignore 2563",
        ),
        (
            "sys/class/fc_host/host0/port_state",
            "Online",
            "Linkdown",
            "node_fibrechannel_info{dev_loss_tmo=\"30\",fabric_name=\"0\",fc_host=\"host0\",port_id=\"010203\",port_name=\"1000e0071bce95f2\",port_state=\"Linkdown\",port_type=\"NPort (fabric via point-to-point)\",speed=\"16 Gbit\",supported_classes=\"Class 3\",supported_speeds=\"4 Gbit, 8 Gbit, 16 Gbit\",symbolic_name=\"QLE2742 FW:v9.08.02\"} 1",
        ),
        (
            "sys/class/fc_host/host0/statistics/tx_words",
            "0xffffffffffffffff",
            "0x11",
            "node_fibrechannel_tx_words_total{fc_host=\"host0\"} 17",
        ),
        (
            "sys/class/infiniband/mlx5_0/ports/2/state",
            "1: DOWN",
            "4: ACTIVE",
            "node_infiniband_state_id{device=\"mlx5_0\",port=\"2\"} 4",
        ),
        (
            "sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data",
            "33",
            "34",
            "node_infiniband_port_data_transmitted_bytes_total{device=\"mlx5_0\",port=\"1\"} 136",
        ),
        (
            "sys/class/infiniband/mlx5_0/fw_ver",
            "28.39.1002",
            "28.40.1000",
            "node_infiniband_info{board_id=\"MT_0000000838\",device=\"mlx5_0\",firmware_version=\"28.40.1000\",hca_type=\"MT4129\"} 1",
        ),
        (
            "proc/net/ip_vs_stats",
            "1F4A",
            "1F4B",
            "node_ipvs_connections_total 8011",
        ),
        (
            "proc/net/ip_vs",
            "Masq    2      9",
            "Masq    2      8",
            "node_ipvs_backend_connections_active{local_address=\"10.96.0.1\",local_mark=\"\",local_port=\"443\",proto=\"TCP\",remote_address=\"10.244.2.6\",remote_port=\"8000\"} 8",
        ),
        (
            "sys/class/net/eth0/mtu",
            "9000",
            "1500",
            "node_network_mtu_bytes{device=\"eth0\"} 1500",
        ),
        (
            "sys/class/net/eth0/operstate",
            "up",
            "down",
            "node_network_up{device=\"eth0\"} 0",
        ),
        (
            "proc/net/netstat",
            "4711 6 8",
            "4711 7 8",
            "node_netstat_TcpExt_ListenOverflows 7",
        ),
        (
            "proc/net/snmp",
            "57252008",
            "57252009",
            "node_netstat_Tcp_InSegs 5.7252009e+07",
        ),
        (
            "proc/net/snmp6",
            "\t460",
            "\t461",
            "node_netstat_Ip6_InOctets 461",
        ),
        (
            "proc/net/rpc/nfs",
            "rpc 9017",
            "rpc 9018",
            "node_nfs_rpcs_total 9018",
        ),
        (
            "proc/net/rpc/nfs",
            " 1001 ",
            " 1 ",
            "node_nfs_requests_total{method=\"Read\",proto=\"4\"} 1",
        ),
        (
            "proc/net/rpc/nfsd",
            "th 8",
            "th 9",
            "node_nfsd_server_threads 9",
        ),
        (
            "proc/net/rpc/nfsd",
            "wdeleg_getattr 16",
            "wdeleg_getattr 17",
            "node_nfsd_requests_total{method=\"WdelegGetattr\",proto=\"4\"} 17",
        ),
        (
            "proc/net/sockstat",
            "used 229",
            "used 230",
            "node_sockstat_sockets_used 230",
        ),
        (
            "proc/net/sockstat6",
            "inuse 17",
            "inuse 18",
            "node_sockstat_TCP6_inuse 18",
        ),
        (
            "proc/net/softnet_stat",
            "00000029",
            "0000002a",
            "node_softnet_dropped_total{cpu=\"10\"} 42",
        ),
        (
            "proc/net/udp",
            "00000300",
            "00000301",
            "node_udp_queues{ip=\"v4\",queue=\"rx\"} 770",
        ),
        (
            "proc/net/udp6",
            "00000002:00000000 00:",
            "00000003:00000000 00:",
            "node_udp_queues{ip=\"v6\",queue=\"tx\"} 3",
        ),
        (
            "proc/net/xfrm_stat",
            "24532",
            "24533",
            "node_xfrm_acquire_error_packets_total 24533",
        ),
        (
            "proc/net/stat/arp_cache",
            "000000ff",
            "00000100",
            "node_lnstat_hits_total{cpu=\"1\",subsystem=\"arp_cache\"} 256",
        ),
        (
            "proc/softirqs",
            "104281",
            "104282",
            "node_softirqs_functions_total{cpu=\"0\",type=\"NET_RX\"} 104282",
        ),
        (
            "proc/interrupts",
            "578",
            "579",
            "node_interrupts_total{cpu=\"0\",devices=\"5-edge ACPI:Ged\",info=\"IO-APIC\",type=\"24\"} 579",
        ),
        (
            "proc/34/stat",
            ") R 1",
            ") Z 1",
            "node_processes_state{state=\"Z\"} 1",
        ),
        (
            "proc/34/task/36/stat",
            ") D 1",
            ") T 1",
            "node_processes_threads_state{thread_state=\"T\"} 1",
        ),
        (
            "proc/sys/kernel/pid_max",
            "4194304",
            "32768",
            "node_processes_max_processes 32768",
        ),
        (
            "proc/sys/kernel/threads-max",
            "7801",
            "7802",
            "node_processes_max_threads 7802",
        ),
        (
            "udev/b8:0",
            "ROTATION_RATE_RPM=7200",
            "ROTATION_RATE_RPM=5400",
            "node_disk_ata_rotation_rate_rpm{device=\"sda\"} 5400",
        ),
        (
            "proc/pressure/cpu",
            "total=14036781",
            "total=5000000",
            "node_pressure_cpu_waiting_seconds_total 5",
        ),
        (
            "proc/pressure/io",
            "total=159229614",
            "total=6000000",
            "node_pressure_io_stalled_seconds_total 6",
        ),
        (
            "proc/schedstat",
            " 4767485306",
            " 7",
            "node_schedstat_timeslices_total{cpu=\"0\"} 7",
        ),
        (
            "proc/sys/fs/file-nr",
            "1024",
            "1025",
            "node_filefd_allocated 1025",
        ),
        (
            "proc/sys/kernel/random/entropy_avail",
            "256",
            "17",
            "node_entropy_available_bits 17",
        ),
        (
            "proc/sys/kernel/hung_task_detect_count",
            "3",
            "4",
            "node_kernel_hung_tasks_total 4",
        ),
        (
            "root/etc/os-release",
            "VERSION_ID=\"22.04\"",
            "VERSION_ID=\"24.04\"",
            "node_os_version{id=\"ubuntu\",id_like=\"debian\",name=\"Ubuntu\"} 24.04",
        ),
        (
            "sys/fs/selinux/enforce",
            "1",
            "0",
            "node_selinux_current_mode 0",
        ),
        (
            "root/etc/selinux/config",
            "permissive",
            "enforcing",
            "node_selinux_config_mode 1",
        ),
        (
            "sys/class/thermal/thermal_zone0/temp",
            "49925",
            "50000",
            "node_thermal_zone_temp{type=\"bcm2835_thermal\",zone=\"0\"} 50",
        ),
        (
            "sys/class/thermal/cooling_device0/cur_state",
            "0",
            "3",
            "node_cooling_device_cur_state{name=\"0\",type=\"Processor\"} 3",
        ),
        (
            "sys/class/hwmon/hwmon0/device/temp1_input",
            "55000",
            "56000",
            "node_hwmon_temp_celsius{chip=\"hwmon0_device\",sensor=\"temp1\"} 56",
        ),
        (
            "proc/mdstat",
            "[8/7] [_U",
            "[8/8] [UU",
            "node_md_disks{device=\"md3\",state=\"active\"} 8",
        ),
        (
            "sys/block/md3/md/degraded",
            "1",
            "0",
            "node_md_degraded{device=\"md3\"} 0",
        ),
        (
            "sys/class/nvme/nvme0/nvme0n1/nuse",
            "488281250",
            "1",
            "node_nvme_namespace_used_bytes{device=\"nvme0\",nsid=\"1\"} 4096",
        ),
        (
            "sys/devices/system/edac/mc/mc0/csrow0/ch1_ce_count",
            "9",
            "10",
            "node_edac_channel_correctable_errors_total{channel=\"1\",controller=\"0\",csrow=\"0\",dimm_label=\"unknown\"} 10",
        ),
        (
            "sys/class/power_supply/BAT0/capacity",
            "98",
            "97",
            "node_power_supply_capacity{power_supply=\"BAT0\"} 97",
        ),
        (
            "sys/class/watchdog/watchdog0/timeleft",
            "300",
            "299",
            "node_watchdog_timeleft_seconds{name=\"watchdog0\"} 299",
        ),
        (
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
            "1699981",
            "2000000",
            "node_cpu_scaling_frequency_hertz{cpu=\"0\"} 2e+09",
        ),
        (
            "sys/class/scsi_tape/st0/stats/in_flight",
            "1",
            "2",
            "node_tape_io_now{device=\"st0\"} 2",
        ),
        (
            "sys/fs/xfs/sda1/stats/stats",
            "rw 28 0",
            "rw 28 9",
            "node_xfs_read_calls_total{device=\"sda1\"} 9",
        ),
        (
            "sys/fs/btrfs/0abb23a9-579b-43e6-ad30-227ef47fcb9d/commit_stats",
            "258051",
            "258052",
            "node_btrfs_commits_total{uuid=\"0abb23a9-579b-43e6-ad30-227ef47fcb9d\"} 258052",
        ),
        (
            "proc/spl/kstat/zfs/arcstats",
            "8772612",
            "5",
            "node_zfs_arc_hits 5",
        ),
        (
            "proc/spl/kstat/zfs/pool1/objset-1",
            "28",
            "29",
            "node_zfs_zpool_dataset_nread{dataset=\"pool1/data set\",zpool=\"pool1\"} 29",
        ),
        (
            "sys/fs/bcache/deaddd54-c735-46d5-868e-f331c5fd7c74/bdev0/writeback_rate_debug",
            "1.1M/sec",
            "2.0M/sec",
            "node_bcache_writeback_rate{backing_device=\"bdev0\",uuid=\"deaddd54-c735-46d5-868e-f331c5fd7c74\"} 2.097152e+06",
        ),
        (
            "sys/block/sdk/device/state",
            "offline",
            "running",
            "node_dmmultipath_device_paths_active{device=\"mpathA\",sysfs_name=\"dm-5\"} 2",
        ),
        (
            "proc/buddyinfo",
            "4381",
            "7",
            "node_buddyinfo_blocks{node=\"0\",size=\"0\",zone=\"Normal\"} 7",
        ),
        (
            "proc/swaps",
            "\t76\t",
            "\t77\t",
            "node_swap_used_bytes{device=\"/dev/zram0\",swap_type=\"partition\"} 78848",
        ),
        (
            "proc/slabinfo",
            "704",
            "705",
            "node_slabinfo_active_objects{slab=\"tw_sock_TCP\"} 705",
        ),
        (
            "proc/cgroups",
            "148",
            "149",
            "node_cgroups_cgroups{subsys_name=\"cpu\"} 149",
        ),
        (
            "sys/kernel/mm/ksm/sleep_millisecs",
            "20",
            "250",
            "node_ksmd_sleep_seconds 0.25",
        ),
        (
            "sys/devices/system/cpu/vulnerabilities/tsx_async_abort",
            "Vulnerable",
            "Unknown: No mitigations",
            "node_cpu_vulnerabilities_info{codename=\"tsx_async_abort\",mitigation=\"No mitigations\",state=\"unknown\"} 1",
        ),
        (
            "sys/devices/system/node/node0/meminfo",
            "707915 kB",
            "2 kB",
            "node_memory_numa_Active_anon{node=\"0\"} 2048",
        ),
        (
            "proc/drbd",
            "pe:1",
            "pe:9",
            "node_drbd_remote_pending{device=\"drbd0\"} 9",
        ),
        (
            "proc/zoneinfo",
            "2877",
            "2878",
            "node_zoneinfo_protection_1{node=\"0\",zone=\"DMA\"} 2878",
        ),
        (
            "sys/fs/bcachefs/deadbeef-1234-5678-9012-abcdefabcdef/dev-0/io_errors",
            "197",
            "198",
            "node_bcachefs_device_io_errors_total{device=\"0\",type=\"read\",uuid=\"deadbeef-1234-5678-9012-abcdefabcdef\"} 198",
        ),
        (
            "sys/fs/bcachefs/deadbeef-1234-5678-9012-abcdefabcdef/counters/fsync",
            "9",
            "10",
            "node_bcachefs_fsync_total{uuid=\"deadbeef-1234-5678-9012-abcdefabcdef\"} 10",
        ),
        (
            "proc/self/mountstats",
            "age:\t13968",
            "age:\t5",
            "node_mountstats_nfs_age_seconds_total{export=\"192.168.1.1:/srv/test\",mountaddr=\"192.168.1.1\",protocol=\"tcp\"} 5",
        ),
    ];
    let mut host = Host::new();
    for (file, from, to, expected) in cases {
        let expected = format!("\n{expected}\n");
        assert!(
            !host.scrape().contains(&expected),
            "{expected} before {file} changed"
        );
        host.replace(file, from, to);
        let after = host.scrape();
        assert!(
            after.contains(&expected),
            "no {expected} after {file} changed"
        );
    }
}

#[test]
fn a_udev_entry_replaced_by_renaming_is_seen() {
    let mut host = Host::new();
    host.scrape();
    std::fs::write(host.path("udev/new"), "E:ID_MODEL=Other\n").unwrap();
    std::fs::rename(host.path("udev/new"), host.path("udev/b8:16")).unwrap();
    let expected =
        "node_disk_info{device=\"sdb\",major=\"8\",minor=\"16\",model=\"Other\",path=\"\",";
    assert!(host.scrape().contains(expected));
}

#[test]
fn energy_is_counted_by_zone_and_read_anew() {
    let mut host = Host::new();
    let series = |host: &Host, zone: &str, index: u8| {
        let path = host.path("sys/class/powercap").join(zone);
        let name = if zone.matches(':').count() > 1 {
            "core"
        } else {
            "package"
        };
        let path = path.display();
        format!("\nnode_rapl_{name}_joules_total{{index=\"{index}\",path=\"{path}\"}} ")
    };
    let first = host.scrape();
    assert!(first.contains(&format!(
        "{}240422.366267\n",
        series(&host, "intel-rapl:0", 0)
    )));
    assert!(first.contains(&format!("{}3e-06\n", series(&host, "intel-rapl:1:0", 1))));
    host.replace(
        "sys/class/powercap/intel-rapl:1:0/energy_uj",
        "3",
        "5000000",
    );
    assert!(
        host.scrape()
            .contains(&format!("{}5\n", series(&host, "intel-rapl:1:0", 1)))
    );
}

#[test]
fn hardware_comes_and_goes_while_the_exporter_runs() {
    let mut host = Host::new();
    assert!(
        host.scrape()
            .contains("node_watchdog_info{identity=\"Other\"")
    );
    std::fs::remove_dir_all(host.path("sys/class/watchdog/watchdog1")).unwrap();
    std::fs::create_dir(host.path("sys/class/watchdog/watchdog2")).unwrap();
    std::fs::write(host.path("sys/class/watchdog/watchdog2/identity"), "New\n").unwrap();
    let after = host.scrape();
    assert!(!after.contains("node_watchdog_info{identity=\"Other\""));
    assert!(after.contains("node_watchdog_info{identity=\"New\",name=\"watchdog2\""));
}

#[test]
fn an_unplugged_cpu_disappears_and_returns() {
    let mut host = Host::new();
    let line = "cpu2 1031 2 481 22841 20 0 11 0 100 2\n";
    assert!(host.scrape().contains("cpu=\"2\""));
    host.replace("proc/stat", line, "");
    std::fs::remove_dir_all(host.path("sys/devices/system/cpu/cpu2/thermal_throttle")).unwrap();
    let without = host.scrape();
    assert!(!without.contains("node_cpu_seconds_total{cpu=\"2\""));
    assert!(!without.contains("node_cpu_core_throttles_total{core=\"1\",package=\"1\"}"));
    host.replace("proc/stat", "cpu10 ", "cpu2 1 1 1 1 1 1 1 1 1 1\ncpu10 ");
    assert!(
        host.scrape()
            .contains("\nnode_cpu_seconds_total{cpu=\"2\",mode=\"user\"} 0.01\n")
    );
}

#[test]
fn a_file_that_is_lost_fails_only_its_collectors_until_it_is_back() {
    let mut host = Host::new();
    host.scrape();
    let content = std::fs::read(host.path("proc/loadavg")).unwrap();
    std::fs::write(host.path("proc/loadavg"), "").unwrap();
    let broken = host.scrape();
    assert!(broken.contains("\nnode_scrape_collector_success{collector=\"loadavg\"} 0\n"));
    assert!(broken.contains("\nnode_scrape_collector_success{collector=\"cpu\"} 1\n"));
    assert!(!broken.contains("node_load1"));
    std::fs::write(host.path("proc/loadavg"), content).unwrap();
    assert!(host.scrape().contains("\nnode_load1 0.21\n"));
}

#[test]
fn without_the_first_processs_mounts_its_own_are_read() {
    let mut host = Host::new();
    std::fs::remove_file(host.path("proc/1/mountinfo")).unwrap();
    let list = format!(
        "28 1 8:1 / {} rw - ext4 /dev/own rw\n",
        host.path("root").display()
    );
    std::fs::create_dir_all(host.path("proc/self")).unwrap();
    std::fs::write(host.path("proc/self/mountinfo"), list).unwrap();
    let expected = "node_filesystem_device_error{device=\"/dev/own\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"} 0\n";
    assert!(host.scrape().contains(expected));
}

#[test]
fn an_empty_host_fails_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let root = || directory.path().to_owned();
    let settings = Settings {
        procfs: root(),
        sysfs: root(),
        rootfs: root(),
        udev_data: root(),
        ..Settings::default()
    };
    let mut body = Vec::new();
    Registry::new(&settings).unwrap().scrape(&mut body);
    let text = String::from_utf8(body).unwrap();
    let failed: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("node_scrape_collector_success{collector=\"")?
                .strip_suffix("\"} 0")
        })
        .collect();
    assert_eq!(
        failed,
        [
            "bcachefs",
            "bonding",
            "conntrack",
            "cpu",
            "diskstats",
            "dmi",
            "dmmultipath",
            "entropy",
            "fibrechannel",
            "filefd",
            "filesystem",
            "hwmon",
            "infiniband",
            "ipvs",
            "kernel_hung",
            "loadavg",
            "mdadm",
            "meminfo",
            "netclass",
            "netdev",
            "netstat",
            "nfs",
            "nfsd",
            "nvme",
            "os",
            "powersupplyclass",
            "pressure",
            "rapl",
            "schedstat",
            "softnet",
            "stat",
            "tapestats",
            "udp_queues",
            "vmstat",
            "watchdog",
            "zfs"
        ]
    );
}
