//! The format of `/proc/mdstat`.

use crate::collect::skipped::Skipped;
use crate::sources::{fields, lines, parse_u64};

pub(super) const FILE: &str = "mdstat";

/// An array in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Array<'a> {
    pub(super) name: &'a [u8],
    /// The activity of the array: `active`, `inactive`, `recovering`, `resyncing`, `checking`, `reshaping`.
    pub(super) activity: &'a [u8],
    /// `None` if the file does not contain it, because the kernel prints no size of an array without members.
    pub(super) blocks: Option<u64>,
    pub(super) blocks_synced: Option<u64>,
    /// Disks of a complete array.
    pub(super) disks: Option<u64>,
    /// The number of disks in each state, among those or in addition to them.
    pub(super) active: Option<u64>,
    pub(super) failed: u64,
    pub(super) spare: u64,
}

/// Returns the arrays in the order of the file. Other modules for arrays print a file of another format under the same
/// name; it contains none.
pub(super) fn parse<'a>(bytes: &'a [u8], skipped: &mut Skipped) -> Vec<Array<'a>> {
    let all: Vec<&[u8]> = lines(bytes).collect();
    let (mut arrays, mut bad) = (Vec::new(), Vec::new());
    let mut is_ours = false;
    for (place, line) in all.iter().enumerate() {
        if is_indented(line) {
            continue;
        }
        if line.starts_with(b"Personalities") || line.starts_with(b"unused") {
            is_ours = true;
            continue;
        }
        let below = all.get(place + 1..).unwrap_or_default();
        let below = below.iter().copied().take_while(|line| is_indented(line));
        match parse_array(line, &below.collect::<Vec<_>>(), &mut bad) {
            Some(array) => {
                arrays.push(array);
                is_ours = true;
            }
            None => bad.push(line),
        }
    }
    for line in bad.into_iter().filter(|_| is_ours) {
        skipped.line::<()>(FILE, line, None);
    }
    arrays
}

/// Parses an array from the line that names it and the lines below, and adds the lines that cannot be read to `bad`.
fn parse_array<'a>(
    head: &'a [u8],
    below: &[&'a [u8]],
    bad: &mut Vec<&'a [u8]>,
) -> Option<Array<'a>> {
    let mut words = fields(head);
    let name = words.next()?;
    let activity = words
        .next()
        .filter(|word| *word == b":")
        .and(words.next())?;
    let size = below
        .iter()
        .find(|line| fields(line).nth(1) == Some(b"blocks"));
    let blocks = size.and_then(|line| parse_u64(fields(line).next()?));
    let disks = count_disks(head, size.unwrap_or(&head));
    // Without members there is no separate line for the size.
    let is_member = |word: &[u8]| contains(word, b"[") && !word.starts_with(b"[");
    let lacks_size = blocks.is_none() && (size.is_some() || fields(head).any(is_member));
    if lacks_size || disks.is_none() {
        bad.push(size.unwrap_or(&head));
    }
    let mut array = Array {
        name,
        activity,
        blocks,
        blocks_synced: blocks,
        disks: disks.map(|(disks, _)| disks),
        active: disks.map(|(_, active)| active),
        failed: count(head, b"(F)"),
        spare: count(head, b"(S)"),
    };
    // One of the lines describes a bitmap, another a running synchronization.
    let progress = below
        .iter()
        .find_map(|line| Some((*line, synchronisation(line)?)));
    if let Some((line, activity)) = progress {
        array.activity = activity;
        array.blocks_synced = if contains(line, b"DELAYED") || contains(line, b"PENDING") {
            Some(0)
        } else {
            blocks_done(line)
        };
        if array.blocks_synced.is_none() {
            bad.push(line);
        }
    }
    Some(array)
}

/// Whether a line belongs to the array before it.
fn is_indented(line: &[u8]) -> bool {
    line.first().is_some_and(u8::is_ascii_whitespace)
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

/// The activity of the array in a line such as `[==>..]  recovery = 8.5% (16775552/195310144) finish=17.0min`.
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
        let mut skipped = Skipped::default();
        let mut arrays = parse(text.as_bytes(), &mut skipped);
        assert!(skipped.is_empty());
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
        assert_eq!((array.blocks, array.blocks_synced), (Some(100), Some(17)));
        assert_eq!(
            (array.disks, array.active, array.failed, array.spare),
            (Some(8), Some(7), 1, 1)
        );
    }

    #[test]
    fn arrays_that_wait_stripe_or_sleep() {
        let waiting = only(
            "md1 : active raid1 sdb1[1] sda1[0]\n      9 blocks [2/2] [UU]\n      resync=DELAYED\n",
        );
        assert_eq!(
            (waiting.activity, waiting.blocks_synced),
            (b"resyncing".as_slice(), Some(0))
        );
        let striped =
            only("md0 : active raid0 sdb1[1] sda1[0]\n      9 blocks super 1.2 512k chunks\n");
        assert_eq!(
            (striped.disks, striped.active, striped.blocks_synced),
            (Some(2), Some(2), Some(9))
        );
        let sleeping = only("md9 : inactive sdb1[1](S)\n      9 blocks super 1.2\n");
        assert_eq!(
            (sleeping.activity, sleeping.disks, sleeping.spare),
            (b"inactive".as_slice(), Some(0), 1)
        );
    }

    /// The names of the arrays and how many lines could not be read.
    fn parsed(text: &str) -> (Vec<&str>, bool) {
        let mut skipped = Skipped::default();
        let arrays = parse(text.as_bytes(), &mut skipped);
        let names = arrays
            .iter()
            .map(|array| std::str::from_utf8(array.name).unwrap());
        (names.collect(), skipped.is_empty())
    }

    #[test]
    fn an_array_without_members_has_no_size() {
        let array = only(
            "md5 : active raid5 super 1.2 level 5, 64k chunk, algorithm 2 [3/0] [___]\n\nunused devices: <none>\n",
        );
        assert_eq!((array.blocks, array.blocks_synced), (None, None));
        assert_eq!((array.disks, array.active), (Some(3), Some(0)));
        assert_eq!(array.activity, b"active");
    }

    #[test]
    fn a_bad_line_only_affects_its_own_array() {
        const SOUND: &str = "md1 : active raid1 sdb1[1] sda1[0]\n      9 blocks [2/2] [UU]\n";
        for bad in [
            "md0 active\n",
            "md0 : active raid1 sda1[0]\n",
            "md0 : active raid1 sda1[0]\n      x blocks [1/1] [U]\n",
            "md0 : active raid1 sda1[0]\n      9 blocks\n",
            "md0 : active raid1 sda1[0]\n      9 blocks [1/1] [U]\n      [>..]  recovery = x\n",
        ] {
            let text = format!("Personalities : [raid1]\n{bad}{SOUND}unused devices: <none>\n");
            let (names, all_read) = parsed(&text);
            assert_eq!(names.last(), Some(&"md1"), "{bad}");
            assert!(!all_read, "{bad}");
        }
    }

    #[test]
    fn blank_lines_are_no_part_of_the_format() {
        let array = only("\nmd1 : active raid1 sda1[0]\n\n      9 blocks [1/1] [U]\n");
        assert_eq!((array.blocks, array.disks), (Some(9), Some(1)));
    }

    #[test]
    fn the_file_of_another_module_has_no_arrays() {
        let text = "sbName=/boot/config/super.dat\nmdState=STARTED\ndiskNumber.0=0\ndiskName.0=\n";
        assert_eq!(parsed(text), (Vec::new(), true));
        let none = "Personalities : \nunused devices: <none>\n";
        assert_eq!(parsed(none), (Vec::new(), true));
    }
}
