//! The CPU time needed to read the files of a scrape without an exporter. No scrape that reads all of them can be cheaper.

use std::{fs::File, io::Read, os::unix::fs::FileExt, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Larger than any file of a usual host.
const BUFFER: usize = 1024 * 1024;

/// Opens, reads and closes every file in each pass.
///
/// # Errors
/// A file can no longer be opened. A file that the kernel does not let us read still counts with its system call.
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

/// Reads every file again from its beginning in each pass.
///
/// # Errors
/// See [`open_read_close`].
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

/// Returns the CPU time of this thread, which does not depend on other programs on the machine.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds)
        + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or_default())
}
