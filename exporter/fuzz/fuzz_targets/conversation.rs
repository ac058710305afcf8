//! An unauthenticated client sends arbitrary bytes over HTTP/1 or HTTP/2: the server does not panic, answers in its
//! protocol, and never shows metrics without the password.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use secure_exporter::server::conversation::{AUTHORIZATION, SECRET, converse};

fuzz_target!(|bytes: &[u8]| {
    let Some((first, said)) = bytes.split_first() else {
        return;
    };
    let http2 = first & 1 == 1;
    let answer = converse(said, http2, Duration::from_millis(1));
    let begins_well = http2 || answer.is_empty() || answer.starts_with(b"HTTP/1.");
    assert!(begins_well, "{}", answer.escape_ascii());
    let credentials = AUTHORIZATION.trim_start_matches("Basic ").as_bytes();
    let knows = said.windows(credentials.len()).any(|part| part == credentials);
    let sees = answer.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    assert!(knows || !sees, "{}", answer.escape_ascii());
});
