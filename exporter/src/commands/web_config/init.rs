//! Everything new.

use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;
use secure_exporter_web_config::{TlsServerConfig, UserHashes, WebConfig};

use super::layout::Layout;
use super::lifetime::duration;
use super::own_hosts;
use crate::commands::error::CommandError;
use crate::commands::password::Password;
use crate::commands::pki::{self, Host, HostParameters, KeyType};
use crate::commands::scrape_job::ScrapeJob;
use crate::commands::staged::{self, Access, Existing, Staged, cannot};

/// A password of 256 random bits needs no slow hash. This is the cost that node_exporter uses for unknown users.
const COST: u32 = 10;

#[derive(Args)]
pub(in crate::commands) struct Options {
    /// Directory for the files; created if it does not exist
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
    /// Name or IP address by which Prometheus reaches this host, repeatable; Prometheus verifies the first one [default:
    /// this host's name and addresses, and localhost]
    #[arg(long = "host", value_name = "NAME_OR_IP", value_parser = host)]
    hosts: Vec<Host>,
    /// User name with which Prometheus scrapes
    #[arg(long, value_name = "NAME", default_value = "prometheus")]
    username: String,
    /// Lifetime of the certificate; its CA is valid for ten years
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    duration: SignedDuration,
    /// Type of the certificate's key
    #[arg(long, value_name = "KIND", default_value = "ecdsa-p256", value_parser = pki::key_type())]
    key: KeyType,
    /// Group of the exporter's user, which may then read the key and config.yml; without it only their owner may
    #[arg(long, value_name = "GROUP", value_parser = group)]
    group: Option<u32>,
    /// Replace existing files; Prometheus then needs the new files, too
    #[arg(long)]
    overwrite: bool,
}

pub(super) fn run(options: &Options, now: i64) -> Result<(), CommandError> {
    let (hosts, targets) = if options.hosts.is_empty() {
        own_hosts::all()
    } else {
        (options.hosts.clone(), options.hosts.clone())
    };
    let server_name = hosts
        .first()
        .ok_or_else(|| CommandError::Refused("this host has no name: add --host".into()))?;
    let parameters = HostParameters {
        hosts: hosts.clone(),
        duration: options.duration,
    };
    let layout = Layout::of(&options.directory);
    nothing_is_there(&layout, options.overwrite)?;

    let password = Password::generate()?;
    let config = web_config(&options.username, &password)?;
    let authority = pki::authority(&hosts, now)?;
    let key = pki::key(options.key)?;
    let certificate = pki::leaf(&parameters, &key, &authority, "ca.crt", now)?;
    let job = ScrapeJob {
        server_name,
        targets: targets.iter().collect(),
        username: &options.username,
    }
    .to_yaml();

    let prometheus = layout.for_prometheus();
    let (public, secret, shared) = accesses(options.group);
    let files = [
        (layout.authority_key(), authority.key_pem.expose(), secret),
        (
            layout.authority_certificate(),
            &authority.certificate_pem,
            public,
        ),
        (layout.key(), key.expose(), shared),
        (layout.certificate(), &certificate, public),
        (
            prometheus.join("ca.crt"),
            &authority.certificate_pem,
            public,
        ),
        (prometheus.join("password"), password.expose(), secret),
        (prometheus.join("scrape.yml"), &job, public),
        // Last: where it is, all that it names is.
        (layout.config(), &config, shared),
    ];
    write(options, &layout, &files)?;
    tell(options, &layout, &hosts, &job);
    Ok(())
}

/// The access to public files, to secret files, and to files that the exporter's group may read.
fn accesses(group: Option<u32>) -> (Access, Access, Access) {
    let secret = Access::mode(0o600);
    let shared = group.map_or(secret, |_| Access {
        group,
        ..Access::mode(0o640)
    });
    (Access::mode(0o644), secret, shared)
}

fn write(
    options: &Options,
    layout: &Layout,
    files: &[(PathBuf, &str, Access)],
) -> Result<(), CommandError> {
    let open = if options.group.is_some() {
        0o750
    } else {
        0o700
    };
    let for_exporter = Access {
        group: options.group,
        ..Access::mode(open)
    };
    staged::directory(&layout.directory, for_exporter)?;
    staged::directory(&layout.for_prometheus(), Access::mode(0o700))?;
    let mut staged = Staged::default();
    for (path, content, access) in files {
        staged.add(path, content.as_bytes(), *access)?;
    }
    staged.put_in_place(if options.overwrite {
        Existing::Replaced
    } else {
        Existing::Kept
    })?;
    Ok(())
}

fn nothing_is_there(layout: &Layout, overwrite: bool) -> Result<(), CommandError> {
    let prometheus = layout.for_prometheus();
    let all = [
        layout.config(),
        layout.key(),
        layout.certificate(),
        layout.authority_key(),
        layout.authority_certificate(),
        prometheus.join("ca.crt"),
        prometheus.join("password"),
        prometheus.join("scrape.yml"),
    ];
    let there: Vec<String> = all
        .iter()
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if there.is_empty() || overwrite {
        return Ok(());
    }
    Err(CommandError::Refused(format!(
        "these files already exist and are not overwritten: {}; `web-config renew` replaces only the certificate, --overwrite replaces all of them",
        there.join(", ")
    )))
}

/// Returns a configuration that the stock node_exporter also accepts.
fn web_config(username: &str, password: &Password) -> Result<String, CommandError> {
    let config = WebConfig {
        tls_server_config: Some(TlsServerConfig {
            cert_file: Some("tls.crt".into()),
            key_file: Some("tls.key".into()),
            ..TlsServerConfig::default()
        }),
        basic_auth_users: [(username.to_owned(), UserHashes::from(password.hash(COST)?))].into(),
        ..WebConfig::default()
    };
    let text = config.to_yaml();
    match WebConfig::parse(&text) {
        Ok(same) if same == config => Ok(text),
        Ok(_) => Err(CommandError::Refused(format!(
            "--username {username:?} cannot be written to a configuration file"
        ))),
        Err(error) => Err(CommandError::Refused(format!(
            "--username: {}",
            error.message
        ))),
    }
}

/// Prints what was created and what to do next, without any secret.
fn tell(options: &Options, layout: &Layout, hosts: &[Host], job: &str) {
    let directory = layout.directory.display();
    let names: Vec<String> = hosts.iter().map(Host::to_string).collect();
    let readers = match options.group {
        Some(_) => "can be read by their owner and --group",
        None => {
            "can only be read by their owner; --group GROUP also lets the exporter's group read them"
        }
    };
    println!(
        "Created in {directory}:
  config.yml       for --web.config.file={config}
  tls.crt tls.key  certificate for {names}, and its key
  ca.crt ca.key    the CA that signs its successors; only `web-config renew` needs ca.key
  prometheus/      ca.crt, password and scrape.yml: move it to the Prometheus server, and keep no copy here
config.yml and tls.key {readers}.

Add prometheus/scrape.yml to `scrape_config_files` in prometheus.yml, or add the following to prometheus.yml, with ca.crt and password beside it:

{job}
Renew the certificate before it expires:
  secure-exporter web-config renew --directory {directory}",
        config = layout.config().display(),
        names = names.join(", "),
    );
}

fn host(text: &str) -> Result<Host, String> {
    pki::host(text).map_err(|error| error.to_string())
}

/// Parses the name or number of a group. Names are looked up in /etc/group, because a static program cannot query other
/// directories.
fn group(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let path = std::path::Path::new("/etc/group");
    let groups = std::fs::read_to_string(path)
        .map_err(cannot("read", path))
        .map_err(|error| error.to_string())?;
    group_number(&groups, text).ok_or_else(|| {
        format!("/etc/group has no group {text:?}; a numeric group ID is accepted as well")
    })
}

fn group_number(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_name() {
        let groups = "root:x:0:\nsecure-exporter:x:998:\nbroken\n";
        assert_eq!(group_number(groups, "secure-exporter"), Some(998));
        assert_eq!(group_number(groups, "secure"), None);
        assert_eq!(group_number(groups, "broken"), None);
    }

    #[test]
    fn a_user_name_that_no_file_can_hold_is_refused() {
        let password = Password::generate().unwrap();
        for name in ["", "a:b", "a\nb"] {
            let error = web_config(name, &password).unwrap_err().to_string();
            assert!(error.contains("--username"), "{error}");
        }
        for name in ["prometheus", "on", "Ä \"b\" #c", "- x"] {
            assert!(web_config(name, &password).is_ok(), "{name}");
        }
    }
}
