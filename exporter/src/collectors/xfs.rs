//! `xfs`: operations of XFS file systems, from `/sys/fs/xfs`.

use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::{Path, PathBuf};

use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{
    Deadline, ReadError, fields, lines, list_directories, parse_u64, read_attribute,
};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "xfs",
    default_enabled: true,
    summary: "Operations of XFS file systems, from /sys/fs/xfs.",
    options: &[],
    build,
};

const FILE: &str = "fs/xfs/*/stats/stats";
/// The lines that are shown: the first word, then the metric and the meaning of each number.
const LINES: &[(&str, &[(&str, &str)])] = &[
    (
        "extent_alloc",
        &[
            ("extent_allocation_extents_allocated", "Extents allocated."),
            ("extent_allocation_blocks_allocated", "Blocks allocated."),
            ("extent_allocation_extents_freed", "Extents freed."),
            ("extent_allocation_blocks_freed", "Blocks freed."),
        ],
    ),
    (
        "abt",
        &[
            (
                "allocation_btree_lookups",
                "Lookups in the free space B-trees.",
            ),
            (
                "allocation_btree_compares",
                "Comparisons in the free space B-trees.",
            ),
            (
                "allocation_btree_records_inserted",
                "Records inserted into the free space B-trees.",
            ),
            (
                "allocation_btree_records_deleted",
                "Records removed from the free space B-trees.",
            ),
        ],
    ),
    (
        "blk_map",
        &[
            ("block_mapping_reads", "Block mappings for reads."),
            ("block_mapping_writes", "Block mappings for writes."),
            ("block_mapping_unmaps", "Block mappings removed."),
            (
                "block_mapping_extent_list_insertions",
                "Extents inserted into extent lists.",
            ),
            (
                "block_mapping_extent_list_deletions",
                "Extents removed from extent lists.",
            ),
            (
                "block_mapping_extent_list_lookups",
                "Lookups in extent lists.",
            ),
            (
                "block_mapping_extent_list_compares",
                "Comparisons in extent lists.",
            ),
        ],
    ),
    (
        "bmbt",
        &[
            (
                "block_map_btree_lookups",
                "Lookups in the block map B-trees.",
            ),
            (
                "block_map_btree_compares",
                "Comparisons in the block map B-trees.",
            ),
            (
                "block_map_btree_records_inserted",
                "Records inserted into the block map B-trees.",
            ),
            (
                "block_map_btree_records_deleted",
                "Records removed from the block map B-trees.",
            ),
        ],
    ),
    (
        "dir",
        &[
            (
                "directory_operation_lookup",
                "Names looked up on disk because they were not in the cache.",
            ),
            ("directory_operation_create", "Directory entries created."),
            ("directory_operation_remove", "Directory entries removed."),
            ("directory_operation_getdents", "Directory listings."),
        ],
    ),
    (
        "ig",
        &[
            ("inode_operation_attempts", "Inode lookups in the cache."),
            ("inode_operation_found", "Inodes found in the cache."),
            (
                "inode_operation_recycled",
                "Inodes found in the cache while they were being evicted.",
            ),
            ("inode_operation_missed", "Inodes not found in the cache."),
            (
                "inode_operation_duplicates",
                "Inodes that another task added to the cache first.",
            ),
            (
                "inode_operation_reclaims",
                "Inodes evicted from the cache to free memory.",
            ),
            (
                "inode_operation_attribute_changes",
                "Changes of inode attributes.",
            ),
        ],
    ),
    (
        "rw",
        &[
            ("write_calls", "Calls to write(2)."),
            ("read_calls", "Calls to read(2)."),
        ],
    ),
    (
        "vnodes",
        &[
            ("vnode_active", "Number of vnodes in use."),
            ("vnode_allocate", "Vnodes allocated."),
            ("vnode_get", "Times that a vnode was acquired."),
            ("vnode_hold", "Times that a vnode was held."),
            ("vnode_release", "Vnodes released."),
            ("vnode_reclaim", "Vnodes reclaimed."),
            ("vnode_remove", "Vnodes removed."),
        ],
    ),
];

struct Xfs {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Xfs {
        directory: context.sysfs("fs/xfs"),
    }))
}

impl Collector for Xfs {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        gather(out, |samples| {
            let mut buffer = Vec::new();
            // Without the kernel's module there is no directory, which is not an error.
            for name in list_directories(&self.directory).unwrap_or_default() {
                let path = self.directory.join(String::from_utf8_lossy(&name).as_ref());
                let read = add_file_system(&path.join("stats/stats"), &name, &mut buffer, samples);
                samples.skipped.part(read);
            }
            Ok(())
        })
    }
}

fn add_file_system(
    path: &Path,
    device: &[u8],
    buffer: &mut Vec<u8>,
    samples: &mut Samples,
) -> Result<(), CollectError> {
    let bytes = match read_attribute(path, buffer) {
        // The sum of all file systems is in the place of a file system's directory.
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(()),
        other => other.map_err(|source| ReadError::new(path, source))?,
    };
    for (first, metrics) in LINES {
        let line = lines(bytes).find(|line| fields(line).next() == Some(first.as_bytes()));
        let read = add_line(line, metrics, device, samples);
        samples.skipped.line(FILE, line.unwrap_or_default(), read);
    }
    Ok(())
}

/// Adds the numbers of a line, zeros if this kernel has no such line. `None` if the line lacks one of them.
fn add_line(
    line: Option<&[u8]>,
    metrics: &[(&str, &'static str)],
    device: &[u8],
    samples: &mut Samples,
) -> Option<()> {
    let mut words = line.map(|line| fields(line).skip(1));
    for (name, help) in metrics {
        let value = match &mut words {
            Some(words) => words.next().and_then(parse_u64)?,
            None => 0,
        };
        samples.counter(
            format!("node_xfs_{name}_total"),
            *help,
            &[("device", device)],
            value,
        );
    }
    Some(())
}
