//! Writes the file in a readable form: fixed order, no unnecessary quotes, keys as blocks.

use std::fmt::{self, Display, Write as _};

use crate::{
    config::WebConfig,
    http::{HttpServerConfig, RateLimit, format_duration},
    tls::TlsServerConfig,
    users::UserHashes,
};

pub(crate) fn web_config(config: &WebConfig) -> String {
    let mut out = Lines(String::new());
    if let Some(tls) = &config.tls_server_config {
        tls_server_config(&mut out, tls);
    }
    if let Some(http) = &config.http_server_config {
        http_server_config(&mut out, http);
    }
    if !config.basic_auth_users.is_empty() {
        out.section("basic_auth_users");
        for (name, hashes) in &config.basic_auth_users {
            user(&mut out, name, hashes);
        }
    }
    if let Some(RateLimit { interval, burst }) = config.rate_limit {
        out.section("rate_limit");
        out.line(format_args!("  interval: {}", format_duration(interval)));
        out.line(format_args!("  burst: {burst}"));
    }
    out.0
}

fn tls_server_config(out: &mut Lines, tls: &TlsServerConfig) {
    out.section("tls_server_config");
    out.text("cert_file", tls.cert_file.as_deref());
    out.text("key_file", tls.key_file.as_deref());
    out.text("cert", tls.cert.as_deref());
    out.text("key", tls.key.as_deref());
    out.text("client_ca_file", tls.client_ca_file.as_deref());
    out.text("client_ca", tls.client_ca.as_deref());
    out.text(
        "client_auth_type",
        tls.client_auth_type.map(|kind| kind.as_str()),
    );
    out.list(
        "client_allowed_sans",
        tls.client_allowed_sans.iter().flatten().map(String::as_str),
    );
    out.text(
        "min_version",
        tls.min_version.map(|version| version.as_str()),
    );
    out.text(
        "max_version",
        tls.max_version.map(|version| version.as_str()),
    );
    out.list(
        "cipher_suites",
        tls.cipher_suites.iter().map(|suite| suite.as_str()),
    );
    if let Some(prefer) = tls.prefer_server_cipher_suites {
        out.line(format_args!("  prefer_server_cipher_suites: {prefer}"));
    }
    out.list(
        "curve_preferences",
        tls.curve_preferences.iter().map(|curve| curve.as_str()),
    );
}

fn http_server_config(out: &mut Lines, http: &HttpServerConfig) {
    if http.http2.is_none() && http.headers.is_empty() {
        out.line(format_args!("http_server_config: {{}}"));
        return;
    }
    out.section("http_server_config");
    if let Some(http2) = http.http2 {
        out.line(format_args!("  http2: {http2}"));
    }
    if !http.headers.is_empty() {
        out.line(format_args!("  headers:"));
        for (header, value) in &http.headers {
            out.line(format_args!("    {}: {}", header.as_str(), Quoted(value)));
        }
    }
}

fn user(out: &mut Lines, name: &str, hashes: &UserHashes) {
    match hashes.as_slice() {
        // The format that stock exporters can read, too.
        [only] => out.line(format_args!("  {}: {}", Scalar(name), only.as_str())),
        several => {
            out.line(format_args!("  {}:", Scalar(name)));
            for hash in several {
                out.line(format_args!("    - {}", hash.as_str()));
            }
        }
    }
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn section(&mut self, name: &str) {
        self.line(format_args!("{name}:"));
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        match value {
            None => {}
            Some(text) if fits_a_block(text) => {
                self.line(format_args!("  {key}: |"));
                for line in text.lines() {
                    self.line(format_args!("    {line}"));
                }
            }
            Some(text) => self.line(format_args!("  {key}: {}", Scalar(text))),
        }
    }

    fn list<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a str>) {
        let mut values = values.peekable();
        if values.peek().is_some() {
            self.line(format_args!("  {key}:"));
            for value in values {
                self.line(format_args!("    - {}", Scalar(value)));
            }
        }
    }
}

/// A block scalar only preserves the text if it consists of lines of plain text and ends with one line feed.
fn fits_a_block(text: &str) -> bool {
    let plain = |line: &str| {
        !line.is_empty()
            && !line.starts_with(' ')
            && line.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    text.len() > 1
        && text.ends_with('\n')
        && text.trim_end_matches('\n').split('\n').all(plain)
        && !text.ends_with("\n\n")
}

/// A scalar without quotes if no parser could misread it.
struct Scalar<'a>(&'a str);

impl Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) {
            f.write_str(self.0)
        } else {
            Quoted(self.0).fmt(f)
        }
    }
}

fn is_plain(text: &str) -> bool {
    const KEYWORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'/')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
        && !KEYWORDS
            .iter()
            .any(|keyword| keyword.eq_ignore_ascii_case(text))
}

/// A double-quoted scalar.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if u32::from(c) < 0x20
                    || (0x7f..0xa0).contains(&u32::from(c))
                    || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') =>
                {
                    write!(f, "\\u{:04X}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
