//! Information about the CPUs from `/proc/cpuinfo`, for `cpu`.
//!
//! Each architecture has its own list of fields. Fields with the same name mean the same, so one parser is enough for x86,
//! ARM, POWER, RISC-V, s390x and LoongArch.

use std::path::PathBuf;

use crate::collect::Pattern;
use crate::collect::samples::{Samples, gather};
use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, OptionSpec};
use crate::exposition::Exposition;
use crate::sources::{ReadError, all_lines, fields, parse_u64, read_attribute, trim};

const INFO: &str = "collector.cpu.info";
const BUGS: &str = "collector.cpu.info.bugs-include";
const FLAGS: &str = "collector.cpu.info.flags-include";

/// Shows `node_cpu_info`.
pub(super) const INFO_OPTION: OptionSpec = OptionSpec::switch(INFO, "false", "Show node_cpu_info.");
/// Shows `node_cpu_bug_info`.
pub(super) const BUGS_OPTION: OptionSpec = OptionSpec::pattern(
    BUGS,
    "",
    "Regular expression of the CPU bugs to show in node_cpu_bug_info, which shows none by default. Enables node_cpu_info.",
);
/// Shows `node_cpu_flag_info`.
pub(super) const FLAGS_OPTION: OptionSpec = OptionSpec::pattern(
    FLAGS,
    "",
    "Regular expression of the CPU flags to show in node_cpu_flag_info, which shows none by default. Enables node_cpu_info.",
);

const FILE: &str = "cpuinfo";
const HERTZ: f64 = 1e6;

/// Reads the file and shows what the flags request.
pub(super) struct CpuInfo {
    path: PathBuf,
    buffer: Vec<u8>,
    frequencies: bool,
    flags: Option<Pattern>,
    bugs: Option<Pattern>,
}

impl CpuInfo {
    /// What the flags request, `None` for nothing. A pattern also enables the other metrics, even if the switch is off.
    pub(super) fn from_flags(context: &BuildContext<'_>) -> Result<Option<Self>, BuildError> {
        let (flags, bugs) = (context.pattern(FLAGS)?, context.pattern(BUGS)?);
        if !context.switch(INFO)? && flags.is_none() && bugs.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            path: context.procfs(FILE),
            buffer: Vec::new(),
            frequencies: context.settings().enabled.contains("cpufreq"),
            flags,
            bugs,
        }))
    }

    /// Writes the families.
    pub(super) fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
        // Opened each time, because some kernels measure the frequencies when the file is opened and not while it is read.
        let bytes = read_attribute(&self.path, &mut self.buffer)
            .map_err(|source| ReadError::new(&self.path, source))?;
        gather(out, |samples| {
            let cpus = parse(bytes, &mut samples.skipped)?;
            for cpu in &cpus {
                cpu.add_info(samples);
                if self.frequencies {
                    cpu.add_frequency(samples);
                }
            }
            // All CPUs of a host are the same in this respect.
            if let Some(first) = cpus.first() {
                first.add_flags(self.flags.as_ref(), samples);
                first.add_bugs(self.bugs.as_ref(), samples);
            }
            Ok(())
        })
    }
}

/// A CPU as described in the file. Fields that its architecture does not print are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cpu<'a> {
    number: u64,
    package: &'a [u8],
    core: &'a [u8],
    vendor: &'a [u8],
    family: &'a [u8],
    model: &'a [u8],
    model_name: &'a [u8],
    stepping: &'a [u8],
    microcode: &'a [u8],
    cache_size: &'a [u8],
    /// 0 if it is not printed, as in node_exporter.
    megahertz: f64,
    flags: &'a [u8],
    bugs: &'a [u8],
}

/// Each CPU has a paragraph. Lines before the first one apply to all CPUs; a paragraph without a CPU describes the machine.
fn parse<'a>(bytes: &'a [u8], skipped: &mut Skipped) -> Result<Vec<Cpu<'a>>, CollectError> {
    let mut common = Cpu::default();
    let mut cpus: Vec<Cpu<'_>> = Vec::new();
    let mut inside = false;
    for line in all_lines(bytes) {
        if trim(line).is_empty() {
            inside = false;
        }
        let Some((key, value)) = split(line) else {
            continue;
        };
        // s390x prints each CPU's number twice; its paragraph begins with the second one.
        if matches!(key, b"processor" | b"cpu number") {
            // Lines after an invalid number belong to no CPU.
            let number = skipped.line(FILE, line, parse_u64(trim(value)));
            inside = number.is_some();
            cpus.extend(number.map(|number| Cpu { number, ..common }));
            continue;
        }
        let described = match cpus.last_mut() {
            Some(cpu) if inside || cpu.lacks(key, value) => cpu,
            Some(_) => continue,
            None => &mut common,
        };
        skipped.line(FILE, line, described.take(key, value));
    }
    if cpus.is_empty() {
        return Err(CollectError::Malformed {
            file: FILE,
            what: "it lists no CPU".to_owned(),
        });
    }
    Ok(cpus)
}

/// Splits a line into its name and the text after the colon, which may be empty.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (key, value) = line.split_at_checked(colon)?;
    let value = value.strip_prefix(b":")?;
    Some((trim(key), value.strip_prefix(b" ").unwrap_or(value)))
}

impl<'a> Cpu<'a> {
    /// Whether a line after the CPU's paragraph still belongs to the CPU, because there may be an unexpected blank line.
    /// Paragraphs about the machine contain no such lines; on POWER the machine has a model, which is not a number.
    fn lacks(&self, key: &[u8], value: &[u8]) -> bool {
        let known = match key {
            b"model" if parse_u64(trim(value)).is_some() => self.model,
            b"vendor_id" => self.vendor,
            b"cpu family" => self.family,
            b"model name" => self.model_name,
            b"stepping" => self.stepping,
            b"microcode" => self.microcode,
            b"cpu MHz" => return self.megahertz == 0.0,
            b"cache size" => self.cache_size,
            b"physical id" => self.package,
            b"core id" => self.core,
            b"flags" => self.flags,
            b"bugs" => self.bugs,
            _ => return false,
        };
        known.is_empty()
    }

    /// Stores the value of a line if it is shown. `None` if it should be a number and is not.
    fn take(&mut self, key: &[u8], value: &'a [u8]) -> Option<()> {
        let slot = match key {
            b"physical id" => &mut self.package,
            b"core id" | b"hart" => &mut self.core,
            b"vendor_id" | b"vendor" | b"cpu" | b"system type" => &mut self.vendor,
            b"cpu family" | b"CPU Family" => &mut self.family,
            b"model" => &mut self.model,
            b"model name" | b"Model Name" | b"isa" => &mut self.model_name,
            b"stepping" => &mut self.stepping,
            b"microcode" => &mut self.microcode,
            b"cache size" => &mut self.cache_size,
            b"flags" | b"Features" | b"features" => &mut self.flags,
            b"bugs" => &mut self.bugs,
            b"cpu MHz" | b"cpu MHz dynamic" | b"clock" => {
                self.megahertz = parse_megahertz(value)?;
                return Some(());
            }
            _ => return Some(()),
        };
        *slot = value;
        Some(())
    }

    fn add_info(&self, samples: &mut Samples) {
        samples.gauge(
            "node_cpu_info",
            "Information about the CPU, in labels; the value is always 1.",
            &[
                ("cachesize", self.cache_size),
                ("core", self.core),
                ("cpu", self.number.to_string().as_bytes()),
                ("family", self.family),
                ("microcode", self.microcode),
                ("model", self.model),
                ("model_name", self.model_name),
                ("package", self.package),
                ("stepping", self.stepping),
                ("vendor", self.vendor),
            ],
            1,
        );
    }

    fn add_frequency(&self, samples: &mut Samples) {
        samples.gauge(
            "node_cpu_frequency_hertz",
            "Current frequency of the CPU.",
            &[
                ("core", self.core),
                ("cpu", self.number.to_string().as_bytes()),
                ("package", self.package),
            ],
            self.megahertz * HERTZ,
        );
    }

    fn add_flags(&self, shown: Option<&Pattern>, samples: &mut Samples) {
        let help = "Feature flag of the first CPU; the value is always 1.";
        for flag in chosen(self.flags, shown) {
            samples.gauge("node_cpu_flag_info", help, &[("flag", flag)], 1);
        }
    }

    fn add_bugs(&self, shown: Option<&Pattern>, samples: &mut Samples) {
        let help = "Known bug of the first CPU; the value is always 1.";
        for bug in chosen(self.bugs, shown) {
            samples.gauge("node_cpu_bug_info", help, &[("bug", bug)], 1);
        }
    }
}

/// The words that the pattern matches anywhere; without one, none.
fn chosen<'a>(words: &'a [u8], shown: Option<&Pattern>) -> impl Iterator<Item = &'a [u8]> {
    fields(words).filter(move |word| shown.is_some_and(|shown| shown.is_match(word)))
}

/// A decimal fraction; POWER adds the unit.
fn parse_megahertz(value: &[u8]) -> Option<f64> {
    let number = trim(value);
    let number = number.strip_suffix(b"MHz").unwrap_or(number);
    let plain = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    if !number.iter().all(plain) {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8]) -> Result<Vec<Cpu<'_>>, CollectError> {
        whole(|skipped| crate::collectors::cpu::info::parse(bytes, skipped))?
    }

    #[test]
    fn x86_prints_every_field() {
        let file = b"processor\t: 3\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC: 9 \n\
            stepping\t: 1\nmicrocode\t: 0x65\ncpu MHz\t\t: 2596.122\ncache size\t: 1024 KB\nphysical id\t: 7\nsiblings\t: 2\n\
            core id\t\t: 5\nflags\t\t: fpu vme\nbugs\t\t:\npower management:\n\nprocessor\t: 4\n";
        let full = Cpu {
            number: 3,
            package: b"7",
            core: b"5",
            vendor: b"AuthenticAMD",
            family: b"26",
            model: b"2",
            model_name: b"AMD EPYC: 9 ",
            stepping: b"1",
            microcode: b"0x65",
            cache_size: b"1024 KB",
            megahertz: 2596.122,
            flags: b"fpu vme",
            bugs: b"",
        };
        let bare = Cpu {
            number: 4,
            ..Cpu::default()
        };
        assert_eq!(parse(file).unwrap(), [full, bare]);
    }

    #[test]
    fn arm_prints_few_fields() {
        let file = b"processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n\nprocessor\t: 1\n\
            model name\t: ARMv7 rev 3\nFeatures\t: fp\n\nHardware\t: BCM2835\nModel\t\t: Pi\n";
        let [first, second] = parse(file).unwrap()[..] else {
            panic!("two CPUs");
        };
        assert_eq!((first.number, first.flags), (0, b"fp asimd".as_slice()));
        assert_eq!((first.model_name, first.megahertz), (b"".as_slice(), 0.0));
        assert_eq!((second.number, second.flags), (1, b"fp".as_slice()));
        assert_eq!(second.model_name, b"ARMv7 rev 3");
    }

    #[test]
    fn powers_last_paragraph_is_about_the_machine() {
        let file = b"processor\t: 8\ncpu\t\t: POWER9\nclock\t\t: 3800.500000MHz\n\ntimebase\t: 512\nmodel\t\t: IBM,9009\n";
        let power = Cpu {
            number: 8,
            vendor: b"POWER9",
            megahertz: 3800.5,
            ..Cpu::default()
        };
        assert_eq!(parse(file).unwrap(), [power]);
    }

    #[test]
    fn s390x_and_loongarch_begin_with_what_is_common() {
        let file = b"vendor_id       : IBM/S390\nbogomips per cpu: 3033.00\nfeatures\t: esan3 zarch\n\
            processor 0: version = FF,  machine = 2964\n\ncpu number      : 0\nphysical id     : 2\ncore id         : 1\n\
            cpu MHz dynamic : 5000\ncpu MHz static  : 5200\n";
        let mainframe = Cpu {
            package: b"2",
            core: b"1",
            vendor: b"IBM/S390",
            megahertz: 5000.0,
            flags: b"esan3 zarch",
            ..Cpu::default()
        };
        assert_eq!(parse(file).unwrap(), [mainframe]);
        let file = b"system type\t: generic-loongson-machine\n\nprocessor\t: 0\ncore\t: 0\nCPU Family\t: Loongson-64bit\n\
            Model Name\t: Loongson-3A5000\n";
        let loongson = Cpu {
            vendor: b"generic-loongson-machine",
            family: b"Loongson-64bit",
            model_name: b"Loongson-3A5000",
            ..Cpu::default()
        };
        assert_eq!(parse(file).unwrap(), [loongson]);
    }

    #[test]
    fn riscv_has_harts() {
        let riscv = Cpu {
            number: 1,
            core: b"2",
            model_name: b"rv64imafdc",
            ..Cpu::default()
        };
        let file = b"processor\t: 1\nhart\t\t: 2\nisa\t\t: rv64imafdc\nmmu\t\t: sv48\n";
        assert_eq!(parse(file).unwrap(), [riscv]);
    }

    #[test]
    fn what_is_no_number_or_no_cpu_is_an_error() {
        let error = |file: &[u8]| parse(file).unwrap_err().to_string();
        assert_eq!(
            error(b""),
            "cpuinfo has an unexpected format: it lists no CPU"
        );
        assert!(error(b"model\t: 2\n\nprocessor\t: x\n").ends_with("\"processor\\t: x\""));
        for megahertz in ["", "fast", "nan", "1.2.3", "-1", "5GHz"] {
            let file = format!("processor\t: 0\ncpu MHz\t: {megahertz}\n");
            assert!(parse(file.as_bytes()).is_err(), "{megahertz}");
        }
    }

    #[test]
    fn words_are_shown_when_asked_for() {
        let shown = |pattern: Option<&str>| {
            let pattern = pattern.map(|pattern| Pattern::new(pattern).unwrap());
            let words = chosen(b"aes avx avx2 vaes", pattern.as_ref());
            words.map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert!(shown(None).is_empty());
        assert_eq!(shown(Some("aes")), [b"aes".as_slice(), b"vaes"]);
        assert_eq!(shown(Some("^avx$")), [b"avx"]);
    }
}
