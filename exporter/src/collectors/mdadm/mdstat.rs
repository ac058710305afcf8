//! The format of `/proc/mdstat`.

use crate::collect::CollectError;
use crate::sources::{fields, lines, parse_u64, trim};

pub(super) const FILE: &str = "mdstat";

/// An array as the file shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Array<'a> {
    pub(super) name: &'a [u8],
    /// What the array is doing: `active`, `inactive`, `recovering`, `resyncing`, `checking`, `reshaping`.
    pub(super) activity: &'a [u8],
    pub(super) blocks: u64,
    pub(super) blocks_synced: u64,
    /// Disks of a complete array, and how many of them, or beside them, are in which state.
    pub(super) disks: u64,
    pub(super) active: u64,
    pub(super) failed: u64,
    pub(super) spare: u64,
}

/// The arrays in the order of the file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Array<'_>>, CollectError> {
    let all: Vec<&[u8]> = lines(bytes).collect();
    let mut arrays = Vec::new();
    for (place, line) in all.iter().enumerate() {
        let other = [b" ".as_slice(), b"Personalities", b"unused"];
        if trim(line).is_empty() || other.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        let block = all.get(place..).unwrap_or_default();
        arrays.push(parse_array(block).ok_or_else(|| CollectError::malformed(FILE, line))?);
    }
    Ok(arrays)
}

/// Reads an array from the line that names it, the line of its size, and what follows them.
fn parse_array<'a>(block: &[&'a [u8]]) -> Option<Array<'a>> {
    let [head, size, rest @ ..] = block else {
        return None;
    };
    let mut words = fields(head);
    let (name, activity) = (words.next()?, words.nth(1)?);
    let blocks = parse_u64(fields(size).next()?)?;
    let (disks, active) = count_disks(head, size)?;
    let mut array = Array {
        name,
        activity,
        blocks,
        blocks_synced: blocks,
        disks,
        active,
        failed: count(head, b"(F)"),
        spare: count(head, b"(S)"),
    };
    // Lines of the array's own are indented; one of them tells of a bitmap, another of a running synchronisation.
    let progress = rest
        .iter()
        .take_while(|line| line.starts_with(b" ") && !trim(line).is_empty())
        .find_map(|line| Some((*line, synchronisation(line)?)));
    if let Some((line, activity)) = progress {
        array.activity = activity;
        array.blocks_synced = if contains(line, b"DELAYED") || contains(line, b"PENDING") {
            0
        } else {
            blocks_done(line)?
        };
    }
    Some(array)
}

/// The disks that the array needs and those that work.
fn count_disks(head: &[u8], size: &[u8]) -> Option<(u64, u64)> {
    if contains(head, b"raid0") || contains(head, b"linear") {
        let members = count(head, b"[");
        return Some((members, members));
    }
    if contains(head, b"inactive") {
        return Some((0, 0));
    }
    // `[4/3] [UU_U]`
    fields(size).find_map(|field| pair(field.strip_prefix(b"[")?.strip_suffix(b"]")?))
}

/// What a line such as `[==>..]  recovery = 8.5% (16775552/195310144) finish=17.0min` says the array is doing.
fn synchronisation(line: &[u8]) -> Option<&'static [u8]> {
    let kinds: [(&[u8], &[u8]); 4] = [
        (b"recovery", b"recovering"),
        (b"reshape", b"reshaping"),
        (b"check", b"checking"),
        (b"resync", b"resyncing"),
    ];
    let found = kinds.iter().find(|(word, _)| contains(line, word));
    found.map(|(_, activity)| *activity)
}

fn blocks_done(line: &[u8]) -> Option<u64> {
    let done = fields(line).find_map(|field| pair(field.strip_prefix(b"(")?.strip_suffix(b")")?));
    done.map(|(done, _)| done)
}

/// Two numbers with a slash between them.
fn pair(text: &[u8]) -> Option<(u64, u64)> {
    let mut numbers = text.split(|&byte| byte == b'/').map(parse_u64);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(first), Some(second), None) => Some((first?, second?)),
        _ => None,
    }
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    count(line, word) > 0
}

fn count(line: &[u8], word: &[u8]) -> u64 {
    line.windows(word.len())
        .filter(|window| *window == word)
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Array<'_> {
        let mut arrays = parse(text.as_bytes()).unwrap();
        assert_eq!(arrays.len(), 1);
        arrays.remove(0)
    }

    #[test]
    fn an_array_that_recovers_behind_its_bitmap() {
        let array = only(
            "Personalities : [raid6]\nmd3 : active raid6 sda1[8] sdh1[7](F) sdg1[6](S) sdf1[5]\n      \
             100 blocks super 1.2 level 6, 64k chunk, algorithm 2 [8/7] [_UUUUUUU]\n      \
             bitmap: 0/30 pages [0KB], 65536KB chunk\n      \
             [>....]  recovery =  8.5% (17/100) finish=17.0min speed=259783K/sec\n\nunused devices: <none>\n",
        );
        assert_eq!(
            (array.name, array.activity),
            (b"md3".as_slice(), b"recovering".as_slice())
        );
        assert_eq!((array.blocks, array.blocks_synced), (100, 17));
        assert_eq!(
            (array.disks, array.active, array.failed, array.spare),
            (8, 7, 1, 1)
        );
    }

    #[test]
    fn arrays_that_wait_stripe_or_sleep() {
        let waiting = only(
            "md1 : active raid1 sdb1[1] sda1[0]\n      9 blocks [2/2] [UU]\n      resync=DELAYED\n",
        );
        assert_eq!(
            (waiting.activity, waiting.blocks_synced),
            (b"resyncing".as_slice(), 0)
        );
        let striped =
            only("md0 : active raid0 sdb1[1] sda1[0]\n      9 blocks super 1.2 512k chunks\n");
        assert_eq!(
            (striped.disks, striped.active, striped.blocks_synced),
            (2, 2, 9)
        );
        let sleeping = only("md9 : inactive sdb1[1](S)\n      9 blocks super 1.2\n");
        assert_eq!(
            (sleeping.activity, sleeping.disks, sleeping.spare),
            (b"inactive".as_slice(), 0, 1)
        );
    }

    #[test]
    fn an_array_without_its_size_is_an_error() {
        assert!(parse(b"md0 : active raid1 sda1[0]\n").is_err());
        assert!(
            parse(b"Personalities : \nunused devices: <none>\n")
                .unwrap()
                .is_empty()
        );
    }
}
