//! `xfs`: what XFS file systems did, from `/sys/fs/xfs`.

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
                "Lookups in the trees of free space.",
            ),
            (
                "allocation_btree_compares",
                "Comparisons in the trees of free space.",
            ),
            (
                "allocation_btree_records_inserted",
                "Records put into the trees of free space.",
            ),
            (
                "allocation_btree_records_deleted",
                "Records taken out of the trees of free space.",
            ),
        ],
    ),
    (
        "blk_map",
        &[
            ("block_mapping_reads", "Blocks mapped in order to read."),
            ("block_mapping_writes", "Blocks mapped in order to write."),
            ("block_mapping_unmaps", "Blocks whose mapping was removed."),
            (
                "block_mapping_extent_list_insertions",
                "Extents put into lists.",
            ),
            (
                "block_mapping_extent_list_deletions",
                "Extents taken out of lists.",
            ),
            (
                "block_mapping_extent_list_lookups",
                "Lookups in lists of extents.",
            ),
            (
                "block_mapping_extent_list_compares",
                "Comparisons in lists of extents.",
            ),
        ],
    ),
    (
        "bmbt",
        &[
            (
                "block_map_btree_lookups",
                "Lookups in the trees of mapped blocks.",
            ),
            (
                "block_map_btree_compares",
                "Comparisons in the trees of mapped blocks.",
            ),
            (
                "block_map_btree_records_inserted",
                "Records put into the trees of mapped blocks.",
            ),
            (
                "block_map_btree_records_deleted",
                "Records taken out of the trees of mapped blocks.",
            ),
        ],
    ),
    (
        "dir",
        &[
            (
                "directory_operation_lookup",
                "Names looked up on disk, not being in the cache.",
            ),
            ("directory_operation_create", "Directory entries made."),
            ("directory_operation_remove", "Directory entries removed."),
            ("directory_operation_getdents", "Listings of directories."),
        ],
    ),
    (
        "ig",
        &[
            (
                "inode_operation_attempts",
                "Inodes looked for in the cache.",
            ),
            ("inode_operation_found", "Inodes found in the cache."),
            (
                "inode_operation_recycled",
                "Inodes found in the cache while being thrown out.",
            ),
            ("inode_operation_missed", "Inodes not found in the cache."),
            (
                "inode_operation_duplicates",
                "Inodes that another task put into the cache first.",
            ),
            (
                "inode_operation_reclaims",
                "Inodes thrown out of the cache to free memory.",
            ),
            (
                "inode_operation_attribute_changes",
                "Changes of inodes' attributes.",
            ),
        ],
    ),
    (
        "rw",
        &[
            ("write_calls", "Calls of write(2)."),
            ("read_calls", "Calls of read(2)."),
        ],
    ),
    (
        "vnodes",
        &[
            ("vnode_active", "Vnodes in use."),
            ("vnode_allocate", "Vnodes allocated."),
            ("vnode_get", "Vnodes got."),
            ("vnode_hold", "Vnodes held."),
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
            // Without the kernel's module there is no directory, and nothing amiss.
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
        // The sum of all file systems lies where a file system's directory would be.
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

/// Adds the numbers of a line, zeros where this kernel has no such line. `None` when the line lacks one of them.
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
