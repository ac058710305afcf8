//! The cost of a wrong password, measured in the process itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it is all tests

use crate::web_support::{Connection, Exporter, PASSWORD, Pair, Volume, basic, hash};

/// Attempts for each user: enough for a clock with a hundred ticks per second.
const TRIES: usize = 8;

#[test]
fn unknown_users_cost_what_known_ones_do_with_any_hashes() {
    let pair = Pair::new();
    let costly = |password: &str| bcrypt::hash(password, 9).unwrap();
    let config = format!(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\nbasic_auth_users:\n  \
         alice: [\"{}\", \"{}\"]\n  bob: {}\n  carol: {}\n",
        hash(PASSWORD),
        costly("other"),
        costly("secret"),
        hash("cheap"),
    );
    let volume = Volume::with(&pair, &config);
    let exporter = Exporter::with_config(&volume.config());
    assert_eq!(exporter.scrape().status, 200);
    let processor = || {
        exporter
            .scrape()
            .sample("process_cpu_seconds_total")
            .unwrap()
    };
    let mut connection = Connection::open(&exporter, &pair).unwrap();
    let costs = ["alice", "bob", "carol", "nobody"].map(|user| {
        let before = processor();
        for n in 0..TRIES {
            let head = connection
                .get("/metrics", &basic(user, &format!("wrong{n}")))
                .unwrap();
            assert!(head.starts_with("http/1.1 401"), "{head}");
        }
        processor() - before
    });
    let (least, most) = (
        costs.iter().copied().fold(f64::INFINITY, f64::min),
        costs.iter().copied().fold(0.0, f64::max),
    );
    assert!(least > 0.1 && most < 1.5 * least, "{costs:?}");
}
