//! A host that is larger than most: made-up files below procfs and sysfs, in a folder that both exporters read.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

const CPUS: usize = 256;
const DISKS: usize = 500;
const INTERFACES: usize = 2000;
/// `node_cpu_seconds_total` has these for each CPU.
const MODES: usize = 8;

const CPUFREQ: [(&str, &str); 12] = [
    ("cpuinfo_cur_freq", "2400000"),
    ("cpuinfo_max_freq", "3800000"),
    ("cpuinfo_min_freq", "800000"),
    ("cpuinfo_transition_latency", "20000"),
    ("related_cpus", "0"),
    ("scaling_available_governors", "performance powersave"),
    ("scaling_cur_freq", "2400000"),
    ("scaling_driver", "intel_pstate"),
    ("scaling_governor", "powersave"),
    ("scaling_max_freq", "3800000"),
    ("scaling_min_freq", "800000"),
    ("scaling_setspeed", "<unsupported>"),
];

const INTERFACE: [(&str, &str); 24] = [
    ("addr_assign_type", "3"),
    ("addr_len", "6"),
    ("address", "02:42:ac:11:00:02"),
    ("broadcast", "ff:ff:ff:ff:ff:ff"),
    ("carrier", "1"),
    ("carrier_changes", "2"),
    ("carrier_down_count", "1"),
    ("carrier_up_count", "1"),
    ("dev_id", "0x0"),
    ("dormant", "0"),
    ("duplex", "full"),
    ("flags", "0x1003"),
    ("ifalias", ""),
    ("ifindex", "2"),
    ("iflink", "2"),
    ("link_mode", "0"),
    ("mtu", "1500"),
    ("name_assign_type", "4"),
    ("netdev_group", "0"),
    ("operstate", "up"),
    ("speed", "10000"),
    ("tx_queue_len", "1000"),
    ("type", "1"),
    ("statistics/rx_nohandler", "0"),
];

/// The folder, with `proc`, `sys` and `udev` in it.
pub struct LargeHost {
    folder: TempDir,
}

impl LargeHost {
    /// Writes all its files.
    ///
    /// # Errors
    /// The disk is full.
    pub fn generate() -> Result<Self> {
        let host = Self {
            folder: tempfile::tempdir()?,
        };
        host.write_few()?;
        host.write_cpus()?;
        host.write_disks()?;
        host.write_interfaces()?;
        Ok(host)
    }

    /// Its path.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Checks that a scrape shows all of it, because measurements of different hosts must not be compared.
    ///
    /// # Errors
    /// Names the family that has too few or too many samples, or the collector that failed.
    pub fn check(&self, scrape: &str) -> Result<()> {
        for (family, expected) in [
            ("node_cpu_seconds_total", CPUS * MODES),
            ("node_disk_reads_completed_total", DISKS),
            ("node_network_receive_bytes_total", INTERFACES),
        ] {
            let samples = scrape
                .lines()
                .filter_map(|line| line.strip_prefix(family))
                .filter(|rest| rest.starts_with('{'))
                .count();
            ensure!(
                samples == expected,
                "the large host has {samples} samples of {family}, not {expected}"
            );
        }
        let failed = scrape
            .lines()
            .find(|line| line.starts_with("node_scrape_collector_success") && line.ends_with(" 0"));
        ensure!(failed.is_none(), "a collector failed: {failed:?}");
        Ok(())
    }

    /// The files that have the same size on every host.
    fn write_few(&self) -> Result<()> {
        let init = "1 (init) S 0 1 1 0 -1 4194560 91203 0 12 0 12 90 0 0 20 0 1 0 3 22802432 3102";
        self.write("proc/1/stat", &format!("{init}{}\n", " 0".repeat(28)))?;
        symlink("1", self.folder.path().join("proc/self"))?;
        self.write("proc/loadavg", "81.20 79.03 77.41 92/10311 4194304\n")?;
        self.write("proc/sys/fs/file-nr", "91872\t0\t9223372036854775807\n")?;
        let names = ["MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached"];
        let more = (0..45).map(|number| format!("Made{number}"));
        let meminfo = names.into_iter().map(str::to_owned).chain(more).fold(
            String::new(),
            |mut text, name| {
                let _ = writeln!(text, "{name}:       1056468812 kB");
                text
            },
        );
        self.write("proc/meminfo", &meminfo)?;
        self.write(
            "proc/vmstat",
            "pgpgin 81203\npgpgout 99121\npswpin 0\npswpout 0\npgfault 8812039\npgmajfault 12\noom_kill 0\n",
        )
    }

    fn write_cpus(&self) -> Result<()> {
        let (mut stat, mut schedstat, mut softnet) = (String::new(), String::new(), String::new());
        writeln!(stat, "cpu  90121 12 81203 991203 120 0 8812 31 0 0")?;
        writeln!(schedstat, "version 15\ntimestamp 4303920391")?;
        for cpu in 0..CPUS {
            let n = 1_000_003 * (cpu + 1);
            writeln!(stat, "cpu{cpu} {n} 12 {n} {n} 120 0 {cpu} 31 0 0")?;
            writeln!(schedstat, "cpu{cpu} 0 0 0 0 0 0 {n}120391 {n}3091 {n}")?;
            writeln!(
                softnet,
                "{n:08x} 00000000 0000000c 00000000 00000000 00000000 00000000 00000000 00000000 \
                 00000000 00000000 00000000 {cpu:08x} 00000000 00000000"
            )?;
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            for (file, text) in CPUFREQ {
                self.write(&format!("{folder}/cpufreq/{file}"), &format!("{text}\n"))?;
            }
            // Two sockets of 64 cores of two threads.
            let (core, package) = (cpu % 64, cpu / 64 % 2);
            for (file, number) in [
                ("topology/core_id", core),
                ("topology/physical_package_id", package),
                ("thermal_throttle/core_throttle_count", 0),
                ("thermal_throttle/package_throttle_count", 0),
                ("online", 1),
            ] {
                self.write(&format!("{folder}/{file}"), &format!("{number}\n"))?;
            }
        }
        writeln!(
            stat,
            "intr 8812039 0\nctxt 99120391\nbtime 1763942400\nprocesses 812039\nprocs_running 92\n\
             procs_blocked 0\nsoftirq 91 1 2 3 4 5 6 7 8 9 46"
        )?;
        self.write("proc/stat", &stat)?;
        self.write("proc/schedstat", &schedstat)?;
        self.write("proc/net/softnet_stat", &softnet)?;
        self.write("sys/devices/system/cpu/isolated", "\n")?;
        self.write("sys/devices/system/cpu/offline", "\n")
    }

    fn write_disks(&self) -> Result<()> {
        let mut diskstats = String::new();
        for disk in 0..DISKS {
            let n = 1_000_003 * (disk + 1);
            writeln!(
                diskstats,
                " 259 {disk:7} nvme{disk}n1 {n} 12 {n} 9121 {n} 34 {n} 81203 0 {n} 90324 {n} 0 {n} 12 {disk} 9"
            )?;
            self.write(&format!("sys/block/nvme{disk}n1/queue/rotational"), "0\n")?;
            self.write(
                &format!("udev/b259:{disk}"),
                &format!(
                    "I:81203\nE:ID_MODEL=Large Disk\nE:ID_PATH=pci-0000:{disk:02x}:00.0-nvme-1\n\
                     E:ID_REVISION=1.0\nE:ID_SERIAL_SHORT=S{disk}\nE:ID_WWN=eui.{disk:016x}\n"
                ),
            )?;
        }
        self.write("proc/diskstats", &diskstats)
    }

    fn write_interfaces(&self) -> Result<()> {
        // In sysfs these are links, too. Letting all of them lead to one device saves fifty thousand files.
        let device = "../../devices/eth";
        for (file, text) in INTERFACE {
            self.write(&format!("sys/devices/eth/{file}"), &format!("{text}\n"))?;
        }
        let class = self.folder.path().join("sys/class/net");
        fs::create_dir_all(&class)?;
        let mut dev = String::from(
            "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
        );
        for interface in 0..INTERFACES {
            let n = 1_000_003 * (interface + 1);
            writeln!(
                dev,
                " eth{interface}: {n} {interface} 0 12 0 0 0 3 {n} {interface} 0 0 0 0 0 0"
            )?;
            symlink(device, class.join(format!("eth{interface}")))?;
        }
        self.write("proc/net/dev", &dev)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path: PathBuf = self.folder.path().join(path);
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
