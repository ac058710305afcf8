//! Data of a Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

/// Data of a Secret.
pub(crate) fn secret_data<'a>(
    entries: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, ByteString> {
    entries
        .into_iter()
        .map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())))
        .collect()
}
