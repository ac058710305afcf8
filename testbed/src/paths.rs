//! Where things are on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The folder into which cargo builds: `CARGO_TARGET_DIR`, otherwise `target` in the repository.
pub fn target() -> PathBuf {
    let folder = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    repository().join(folder)
}

/// The folder of the programs that are built once for all working trees: below `SECURE_EXPORTER_CACHE`, otherwise below
/// the user's cache folder.
///
/// # Errors
/// There is no home folder, or the folder cannot be created.
pub fn cache() -> Result<PathBuf> {
    let folder = match env::var_os("SECURE_EXPORTER_CACHE").map(PathBuf::from) {
        Some(folder) => folder,
        None => env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
            .context("neither SECURE_EXPORTER_CACHE nor HOME is set: set one of them")?
            .join("secure-exporter"),
    }
    .join("servers");
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create the cache {}", folder.display()))?;
    Ok(folder)
}

/// Where a program is on the `PATH` or in the system's own folders.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A path as a command's argument.
///
/// # Errors
/// It is not UTF-8.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
