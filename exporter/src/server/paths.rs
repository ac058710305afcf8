//! Request paths by the rules of Go's `http.ServeMux`, on which scrapers configured for node_exporter rely.

use std::borrow::Cow;

/// Whether a request's path is the given one. Its elements may be percent-encoded.
pub(super) fn is(path: &str, wanted: &str) -> bool {
    path == wanted
        || path
            .split('/')
            .map(decoded)
            .eq(wanted.split('/').map(Cow::Borrowed))
}

/// Returns the path without empty elements, `.` and `..`, as in <https://pkg.go.dev/path#Clean>; a slash at its end stays.
/// `None` if it is already clean.
pub(super) fn cleaned(path: &str) -> Option<String> {
    let mut elements: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." => {
                elements.pop();
            }
            other => elements.push(other),
        }
    }
    let mut clean = format!("/{}", elements.join("/"));
    if path.ends_with('/') && !elements.is_empty() {
        clean.push('/');
    }
    // Browsers treat a backslash as a slash, and two slashes as the beginning of another host.
    (clean != path).then(|| clean.replace('\\', "%5C"))
}

/// Decodes an element's percent-encoded bytes; returns it unchanged if its encoding is invalid or is not UTF-8.
fn decoded(element: &str) -> Cow<'_, str> {
    let decode = || {
        let mut bytes = Vec::with_capacity(element.len());
        let mut rest = element.as_bytes();
        while let [first, after @ ..] = rest {
            rest = match rest {
                [b'%', high, low, after @ ..] => {
                    let (high, low) = (
                        char::from(*high).to_digit(16)?,
                        char::from(*low).to_digit(16)?,
                    );
                    bytes.push(u8::try_from(high * 16 + low).ok()?);
                    after
                }
                [b'%', ..] => return None,
                _ => {
                    bytes.push(*first);
                    after
                }
            };
        }
        String::from_utf8(bytes).ok()
    };
    if element.contains('%') {
        decode().map_or(Cow::Borrowed(element), Cow::Owned)
    } else {
        Cow::Borrowed(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_elements_are_the_same_path() {
        for path in ["/metrics", "/%6detrics", "/%6Detric%73"] {
            assert!(is(path, "/metrics"), "{path}");
        }
        assert!(is("/a%20b/c", "/a b/c"));
        for path in [
            "/metric",
            "/metrics/",
            "//metrics",
            "/%6",
            "/%zzetrics",
            "/%6d",
            "",
        ] {
            assert!(!is(path, "/metrics"), "{path}");
        }
        assert!(!is("/a%2Fb", "/a/b"), "an encoded slash separates nothing");
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, clean) in [
            ("//metrics", "/metrics"),
            ("///metrics", "/metrics"),
            ("/./metrics", "/metrics"),
            ("/x/../metrics", "/metrics"),
            ("/../metrics", "/metrics"),
            ("/metrics/.", "/metrics"),
            ("/metrics//", "/metrics/"),
            ("//", "/"),
            ("/..", "/"),
            ("//example.com/x", "/example.com/x"),
            ("/.//\\example.com", "/%5Cexample.com"),
        ] {
            assert_eq!(cleaned(path).as_deref(), Some(clean), "{path}");
        }
        for path in ["/", "/metrics", "/metrics/", "/a/b.c", "/...", "/%2e/x"] {
            assert_eq!(cleaned(path), None, "{path}");
        }
    }
}
