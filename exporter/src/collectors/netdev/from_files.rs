//! Traffic of network devices from `/proc/net/dev`, and additional counters from sysfs.
//!
//! The kernel prints `/proc/net/dev` for the network namespace of the process that opens it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::counters::{COLUMNS, DETAILS, NO_HANDLER, SUMS, View, family, write};
use crate::collect::CollectError;
use crate::collect::device_filter::DeviceFilter;
use crate::collect::skipped::Skipped;
use crate::exposition::Exposition;
use crate::sources::{Directory, KeptFile, ReadError, fields, lines, parse_u64, trim};

/// Below procfs.
pub(super) const FILE: &str = "net/dev";
/// The lines of headings before the devices.
const HEADINGS: usize = 2;

/// The devices of the last scrape.
pub(super) struct Files {
    file: KeptFile,
    class: PathBuf,
    /// In order of name.
    known: Vec<Device>,
    buffer: Vec<u8>,
}

struct Device {
    name: Vec<u8>,
    ignored: bool,
    present: bool,
    counters: [u64; COLUMNS],
    /// Of [`DETAILS`].
    details: [Option<u64>; DETAILS.len()],
    no_handler: Option<u64>,
    alias: Option<Vec<u8>>,
}

impl Files {
    /// Reads `file`, which is `net/dev` of procfs, and devices below `class`, which is `class/net` of sysfs.
    pub(super) fn new(file: PathBuf, class: PathBuf) -> Self {
        Self {
            file: KeptFile::new(file),
            class,
            known: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Writes the counters of the devices that are not left out.
    ///
    /// # Errors
    ///
    /// A file cannot be read. Lines that cannot be understood are skipped.
    pub(super) fn collect(
        &mut self,
        filter: &DeviceFilter,
        view: View,
        label_alias: bool,
        skipped: &mut Skipped,
        out: &mut Exposition,
    ) -> Result<(), CollectError> {
        let Self {
            file,
            class,
            known,
            buffer,
        } = self;
        update(known, file.read()?, filter, skipped);
        for device in shown(known) {
            let path = class.join(OsStr::from_bytes(&device.name));
            device.read(path, view, label_alias, buffer)?;
        }
        match view {
            View::Default => {
                self.write_columns(&SUMS, out);
                self.write_no_handler(out);
            }
            View::File(names) => self.write_columns(names, out),
            View::Details => self.write_details(out),
        }
        Ok(())
    }

    fn write_columns(&mut self, names: &[&str; COLUMNS], out: &mut Exposition) {
        for (column, name) in names.iter().enumerate() {
            let mut family = family(name, out);
            for device in shown(&mut self.known) {
                let count = device.counters.get(column).copied().unwrap_or_default();
                write(&device.name, device.alias.as_deref(), count, &mut family);
            }
        }
    }

    fn write_no_handler(&mut self, out: &mut Exposition) {
        let mut family = family(NO_HANDLER, out);
        for device in shown(&mut self.known) {
            // A device may have disappeared since the file was read, and in a container it may be hidden.
            if let Some(count) = device.no_handler {
                write(&device.name, device.alias.as_deref(), count, &mut family);
            }
        }
    }

    fn write_details(&mut self, out: &mut Exposition) {
        for (place, (_, _, name)) in DETAILS.into_iter().enumerate() {
            let mut family = family(name, out);
            for device in shown(&mut self.known) {
                if let Some(count) = device.details.get(place).copied().flatten() {
                    write(&device.name, device.alias.as_deref(), count, &mut family);
                }
            }
        }
    }
}

/// Stores the lines of the file.
fn update(known: &mut Vec<Device>, bytes: &[u8], filter: &DeviceFilter, skipped: &mut Skipped) {
    for device in known.iter_mut() {
        device.present = false;
    }
    for line in lines(bytes).skip(HEADINGS) {
        let Some((name, counters)) = skipped.line(FILE, line, parse(line)) else {
            continue;
        };
        let found = known.binary_search_by(|device| device.name.as_slice().cmp(name));
        let place = match found {
            Ok(place) => place,
            Err(place) => {
                known.insert(place, Device::new(name, filter.ignores(name)));
                place
            }
        };
        if let Some(device) = known.get_mut(place) {
            device.present = true;
            device.counters = counters;
        }
    }
    known.retain(|device| device.present);
}

impl Device {
    fn new(name: &[u8], ignored: bool) -> Self {
        Self {
            name: name.to_vec(),
            ignored,
            present: true,
            counters: Default::default(),
            details: Default::default(),
            no_handler: None,
            alias: None,
        }
    }

    /// Reads the counters that procfs does not have. No file stays open, because a host may have thousands of devices.
    fn read(
        &mut self,
        path: PathBuf,
        view: View,
        label_alias: bool,
        buffer: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        (self.no_handler, self.alias) = (None, None);
        self.details = Default::default();
        if matches!(view, View::File(_)) && !label_alias {
            return Ok(());
        }
        let Some(directory) = Directory::open_if_present(path)? else {
            return Ok(());
        };
        if label_alias {
            let alias = directory.read("ifalias", buffer)?;
            self.alias = Some(alias.unwrap_or_default().to_vec());
        }
        let mut count = |file: &str| -> Result<Option<u64>, ReadError> {
            let read = directory.read(file, buffer)?;
            Ok(read.and_then(parse_u64))
        };
        match view {
            View::Default => self.no_handler = count("statistics/rx_nohandler").unwrap_or_default(),
            View::Details => {
                for (slot, (_, file, _)) in self.details.iter_mut().zip(DETAILS) {
                    *slot = count(file)?;
                }
            }
            View::File(_) => {}
        }
        Ok(())
    }
}

fn shown(devices: &mut [Device]) -> impl Iterator<Item = &mut Device> {
    devices.iter_mut().filter(|device| !device.ignored)
}

fn parse(line: &[u8]) -> Option<(&[u8], [u64; COLUMNS])> {
    // An alias may have a colon in its name; the counters have none.
    let colon = line.iter().rposition(|&byte| byte == b':')?;
    let (name, rest) = line.split_at_checked(colon)?;
    let mut counters = [0; COLUMNS];
    let mut columns = fields(rest.get(1..)?);
    for slot in &mut counters {
        *slot = columns.next().and_then(parse_u64)?;
    }
    Some((trim(name), counters)).filter(|(name, _)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    #[test]
    fn a_line_is_a_name_and_sixteen_counters() {
        let (name, counters) = parse(b"  eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").unwrap();
        assert_eq!(name, b"eth0:1");
        assert_eq!(counters.to_vec(), (1..=16).collect::<Vec<u64>>());
        assert_eq!(
            parse(b"lo:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16")
                .unwrap()
                .0,
            b"lo"
        );
        assert!(parse(b"eth0: 1 2 3").is_none());
        assert!(parse(b"eth0 1 2 3").is_none());
        assert!(parse(b" : 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").is_none());
    }

    #[test]
    fn devices_come_and_go() {
        let mut known = Vec::new();
        let line = |name: &str| format!("{name}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        let file = |names: &[&str]| {
            format!(
                "heading\nheading\n{}",
                names.iter().map(|name| line(name)).collect::<String>()
            )
        };
        let mut names_after = |names: &[&str]| {
            let bytes = file(names);
            let filter = DeviceFilter::default();
            whole(|skipped| update(&mut known, bytes.as_bytes(), &filter, skipped)).unwrap();
            known
                .iter()
                .map(|device| String::from_utf8(device.name.clone()).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(names_after(&["lo", "eth1", "eth0"]), ["eth0", "eth1", "lo"]);
        assert_eq!(
            names_after(&["veth9", "lo", "eth0"]),
            ["eth0", "lo", "veth9"]
        );
    }
}
