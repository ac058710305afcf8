//! The manual procedure on a bare host, with our exporter instead of node_exporter.

mod bad_input;
mod commands;
mod package;
mod protocol;

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use testbed::{
    curl::Request,
    host::{Host, TLS, htpasswd, python_bcrypt},
    prometheus,
    slot::Slot,
};

const PASSWORDS: [(&str, &str); 3] = [
    ("apache12", "hedgehog-harbour-12"),
    ("apache10", "lantern-meadow-10"),
    ("python", "walnut-thunder-2b"),
];

#[test]
fn from_a_certificate_to_a_scraped_host() -> Result<()> {
    let slot = Slot::shared();
    let host = Host::with_certificate(&slot)?;
    let mut exporter = host.start(&[])?;
    tls_alone(&host)?;

    let hashes = [
        htpasswd(&["-nbBC", "12"], PASSWORDS[0].1)?,
        htpasswd(&["-nbBC", "10"], PASSWORDS[1].1)?,
        python_bcrypt(PASSWORDS[2].1)?,
    ];
    assert!(hashes[0].starts_with("$2y$12$") && hashes[2].starts_with("$2b$10$"));
    host.write("config.yml", &with_users(&hashes)?)?;
    // It loads the new file automatically.
    let refused = host.wait_for_status(401)?;
    assert_eq!(refused.body.trim(), "Unauthorized");
    passwords(&host)?;
    scraped_by_prometheus(&host)?;

    exporter.check()?;
    let log = exporter.log()?;
    assert!(log.contains("configuration reloaded"), "{log}");
    for secret in hashes
        .iter()
        .map(String::as_str)
        .chain(PASSWORDS.map(|(_, password)| password))
    {
        assert!(!log.contains(secret), "a secret in the log");
    }
    assert!(
        !log.contains("PRIVATE KEY") && !log.contains("$2"),
        "a secret in the log: {log}"
    );
    Ok(())
}

#[test]
fn users_in_the_configuration_from_the_start() -> Result<()> {
    let slot = Slot::shared();
    let host = Host::with_certificate(&slot)?;
    let hash = htpasswd(&["-nbBC", "10"], "walnut")?;
    host.write(
        "config.yml",
        &format!("{TLS}basic_auth_users:\n  node: {hash}\n"),
    )?;
    let _exporter = host.start(&["--web.require=tls,auth"])?;
    assert_eq!(host.get("/metrics").send()?.status, 401);
    assert_eq!(host.get("/").send()?.status, 401);
    assert_eq!(
        host.get("/metrics").user("node", "walnut").send()?.status,
        200
    );
    Ok(())
}

fn tls_alone(host: &Host) -> Result<()> {
    let answer = host.get("/metrics").send()?;
    assert_eq!(answer.status, 200);
    for name in [
        "node_load1 ",
        "node_cpu_seconds_total{",
        "node_memory_MemTotal_bytes ",
        "node_uname_info{",
    ] {
        assert!(answer.body.contains(name), "no {name}");
    }
    let verified = host
        .verified("/metrics")
        .authorities(&host.path("node_exporter.crt"));
    assert_eq!(verified.send()?.status, 200);
    let unknown = host.verified("/metrics").send();
    assert!(unknown.is_err_and(|error| error.to_string().contains("self-signed certificate")));

    let plain = Request::get(&format!("http://localhost:{}/metrics", host.port)).send()?;
    assert_eq!(plain.status, 400);
    assert_eq!(
        plain.body.trim(),
        "Client sent an HTTP request to an HTTPS server."
    );
    Ok(())
}

fn with_users(hashes: &[String]) -> Result<String> {
    let mut text = format!("{TLS}basic_auth_users:\n");
    for ((user, _), hash) in PASSWORDS.iter().zip(hashes) {
        writeln!(text, "  {user}: {hash}")?;
    }
    Ok(text)
}

fn passwords(host: &Host) -> Result<()> {
    for (user, password) in PASSWORDS {
        let answer = host.get("/metrics").user(user, password).send()?;
        assert_eq!(answer.status, 200, "{user}");
        assert!(answer.body.contains("node_load1 "));
        for (user, password) in [(user, "wrong"), (user, ""), ("nobody", password)] {
            assert_eq!(
                host.get("/metrics").user(user, password).send()?.status,
                401,
                "{user}"
            );
        }
    }
    Ok(())
}

fn scraped_by_prometheus(host: &Host) -> Result<()> {
    let folder = TempDir::new()?;
    let job = |name: &str, tls: &str, password: Option<&str>| {
        let auth = password.map_or_else(String::new, |password| {
            format!("    basic_auth: {{username: apache12, password: {password}}}\n")
        });
        format!(
            "  - job_name: {name}\n    scheme: https\n    tls_config: {{{tls}}}\n{auth}    static_configs: [{{targets: ['localhost:{}']}}]\n",
            host.port
        )
    };
    let right = Some(PASSWORDS[0].1);
    let verified = format!("ca_file: {}", host.path("node_exporter.crt").display());
    let jobs = [
        job("verified", &verified, right),
        job("unverified", "insecure_skip_verify: true", right),
        job("no-authority", "", right),
        job("no-credentials", &verified, None),
        job("wrong-password", &verified, Some("wrong")),
    ];
    let configuration = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 3s, scrape_timeout: 3s}}\nscrape_configs:\n{}",
        jobs.concat()
    );
    std::fs::write(&configuration, text)?;
    let (_server, address) = prometheus::start_here(&configuration)?;
    prometheus::wait_for(&address, r#"up{job=~"verified|unverified"}"#, 2, "1")?;
    let refused = prometheus::wait_for(&address, r#"up{job=~"no-.*|wrong-.*"}"#, 3, "0")?;
    ensure!(refused.len() == 3, "{refused:?}");
    prometheus::wait_for(&address, r#"count by (job) (node_uname_info)"#, 2, "1")?;
    Ok(())
}
