//! What reading the files of a scrape costs in CPU time without an exporter: no scrape that reads them all can be cheaper.

use std::{fs::File, io::Read, os::unix::fs::FileExt, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Larger than any file of a usual host.
const BUFFER: usize = 1024 * 1024;

/// Each pass opens every file, reads it to its end and closes it.
///
/// # Errors
/// A file cannot be opened any more. One that the kernel does not let us read has cost its call all the same.
pub fn open_read_close(files: &[PathBuf], passes: usize) -> Result<Vec<Duration>> {
    let mut buffer = vec![0; BUFFER];
    (0..passes)
        .map(|_| {
            let began = cpu();
            for path in files {
                let mut file =
                    File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                while file.read(&mut buffer).is_ok_and(|length| length > 0) {}
            }
            Ok(cpu().saturating_sub(began))
        })
        .collect()
}

/// Each pass reads every file again from its beginning.
///
/// # Errors
/// As [`open_read_close`].
pub fn kept_open(files: &[PathBuf], passes: usize) -> Result<Vec<Duration>> {
    let mut buffer = vec![0; BUFFER];
    let opened = files
        .iter()
        .map(|path| File::open(path).with_context(|| format!("cannot open {}", path.display())))
        .collect::<Result<Vec<_>>>()?;
    let pass = || {
        let began = cpu();
        for file in &opened {
            let mut offset = 0;
            while let Ok(length @ 1..) = file.read_at(&mut buffer, offset) {
                offset += length as u64;
            }
        }
        cpu().saturating_sub(began)
    };
    Ok(std::iter::repeat_with(pass).take(passes).collect())
}

/// The CPU time of this thread: who else runs on the machine does not count.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds)
        + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or_default())
}
