//! The set of collectors that an exporter runs.

/// Returns the flags that disable all other collectors.
pub fn only<'a>(collectors: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let named = collectors
        .into_iter()
        .map(|name| format!("--collector.{name}"));
    ["--collector.disable-defaults".to_owned()]
        .into_iter()
        .chain(named)
        .collect()
}
