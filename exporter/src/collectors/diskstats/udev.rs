//! Properties of a block device from udev.

use std::path::Path;

use crate::sources::{lines, parse_u64, read_attribute};

/// The properties that become labels or values. An empty one is absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    pub path: Vec<u8>,
    pub wwn: Vec<u8>,
    pub model: Vec<u8>,
    pub serial: Vec<u8>,
    pub revision: Vec<u8>,
    pub filesystem_type: Vec<u8>,
    pub filesystem_usage: Vec<u8>,
    pub filesystem_uuid: Vec<u8>,
    pub filesystem_version: Vec<u8>,
    pub mapper_name: Vec<u8>,
    pub mapper_uuid: Vec<u8>,
    pub volume_group: Vec<u8>,
    pub volume: Vec<u8>,
    pub volume_layer: Vec<u8>,
    /// Only of an ATA disk.
    pub ata: Ata,
}

/// Properties that udev read from an ATA disk itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ata {
    pub is_ata: bool,
    pub write_cache: Option<u64>,
    pub write_cache_enabled: Option<u64>,
    pub rotation_rate: Option<u64>,
}

/// Reads the entry of one block device. udev replaces these files by renaming, so none is kept open. Without an entry, or
/// without udev, a device has no properties.
pub(super) fn read(directory: &Path, major: u64, minor: u64, buffer: &mut Vec<u8>) -> Properties {
    let path = directory.join(format!("b{major}:{minor}"));
    read_attribute(&path, buffer).map(parse).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> Properties {
    let mut found = Properties::default();
    // The serial number printed on the disk, or else the one that udev derives; virtual disks only have the latter.
    let mut serials: [&[u8]; 3] = Default::default();
    for line in lines(bytes) {
        let Some(property) = line.strip_prefix(b"E:") else {
            continue;
        };
        let Some(equals) = property.iter().position(|&byte| byte == b'=') else {
            continue;
        };
        let Some((name, [_, value @ ..])) = property.split_at_checked(equals) else {
            continue;
        };
        let [printed, short, long] = &mut serials;
        match name {
            b"SCSI_IDENT_SERIAL" => *printed = value,
            b"ID_SERIAL_SHORT" => *short = value,
            b"ID_SERIAL" => *long = value,
            _ => found.take(name, value),
        }
    }
    found.serial = serials
        .into_iter()
        .find(|serial| !serial.is_empty())
        .unwrap_or_default()
        .to_vec();
    found
}

impl Properties {
    fn take(&mut self, name: &[u8], value: &[u8]) {
        let number = || parse_u64(value);
        let text = match name {
            b"ID_ATA" => return self.ata.is_ata = !value.is_empty(),
            b"ID_ATA_WRITE_CACHE" => return self.ata.write_cache = number(),
            b"ID_ATA_WRITE_CACHE_ENABLED" => return self.ata.write_cache_enabled = number(),
            b"ID_ATA_ROTATION_RATE_RPM" => return self.ata.rotation_rate = number(),
            b"ID_PATH" => &mut self.path,
            b"ID_WWN" => &mut self.wwn,
            b"ID_MODEL" => &mut self.model,
            b"ID_REVISION" => &mut self.revision,
            b"ID_FS_TYPE" => &mut self.filesystem_type,
            b"ID_FS_USAGE" => &mut self.filesystem_usage,
            b"ID_FS_UUID" => &mut self.filesystem_uuid,
            b"ID_FS_VERSION" => &mut self.filesystem_version,
            b"DM_NAME" => &mut self.mapper_name,
            b"DM_UUID" => &mut self.mapper_uuid,
            b"DM_VG_NAME" => &mut self.volume_group,
            b"DM_LV_NAME" => &mut self.volume,
            b"DM_LV_LAYER" => &mut self.volume_layer,
            _ => return,
        };
        *text = value.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_found_among_other_lines() {
        let found = parse(b"S:disk/by-id/x\nE:ID_MODEL=A=B\nE:ID_ATA=1\nE:ID_ATA_WRITE_CACHE=1\nE:BROKEN\nE:ID_FS_TYPE=ext4\n");
        assert_eq!(found.model, b"A=B");
        assert_eq!(found.filesystem_type, b"ext4");
        assert_eq!(
            found.ata,
            Ata {
                is_ata: true,
                write_cache: Some(1),
                ..Ata::default()
            }
        );
    }

    #[test]
    fn the_serial_on_the_label_is_preferred() {
        assert_eq!(parse(b"E:ID_SERIAL=long\n").serial, b"long");
        assert_eq!(
            parse(b"E:ID_SERIAL_SHORT=short\nE:ID_SERIAL=long\n").serial,
            b"short"
        );
        assert_eq!(
            parse(b"E:ID_SERIAL_SHORT=short\nE:SCSI_IDENT_SERIAL=label\nE:ID_SERIAL=long\n").serial,
            b"label"
        );
    }
}
