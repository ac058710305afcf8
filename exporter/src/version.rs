//! Version and build information.

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The compiler.
pub(crate) const RUSTC: &str = env!("SECURE_EXPORTER_RUSTC");
/// The commit, if the build knows it.
pub(crate) const REVISION: &str = match option_env!("SECURE_EXPORTER_REVISION") {
    Some(revision) => revision,
    None => "",
};
/// The branch, if the build knows it.
pub(crate) const BRANCH: &str = match option_env!("SECURE_EXPORTER_BRANCH") {
    Some(branch) => branch,
    None => "",
};
/// The architecture under Go's name, which dashboards use.
pub(crate) const ARCH: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    std::env::consts::ARCH
};

/// The text of `--version`.
#[must_use]
pub fn long() -> String {
    format!(
        "secure-exporter, version {VERSION} (branch: {BRANCH}, revision: {REVISION})\n  compiler:  {RUSTC}\n  platform:  linux/{ARCH}\n"
    )
}

/// The one-line form on the landing page.
pub(crate) fn short() -> String {
    format!("(version={VERSION}, branch={BRANCH}, revision={REVISION})")
}
