//! Client certificates: asked for in the handshake, enforced for each path.

#![allow(clippy::unwrap_used)] // it is all tests

mod web_support;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use web_support::{Exporter, PASSWORD, Pair, Volume, hash};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key in one file, as curl takes them.
    fn client(&self, directory: &std::path::Path, name: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let path = directory.join(format!("{name}.pem"));
        std::fs::write(&path, certificate.pem() + &key.serialize_pem()).unwrap();
        path.display().to_string()
    }
}

fn start(authority: &Authority, settings: &str) -> (Exporter, Volume) {
    let pair = Pair::new();
    let config = format!(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n  client_ca_file: client-ca.crt\n{settings}\
         basic_auth_users:\n  alice: {}\n",
        hash(PASSWORD)
    );
    let volume = Volume::new(&[
        ("web-config.yml", &config),
        ("tls.crt", &pair.certificate),
        ("tls.key", &pair.key),
        ("client-ca.crt", &authority.0.pem()),
    ]);
    (Exporter::with_config(&volume.config()), volume)
}

#[test]
fn a_required_certificate_is_required_beside_the_password_and_not_of_probes() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _volume) = start(
        &authority,
        "  client_auth_type: RequireAndVerifyClientCert\n",
    );
    let right = authority.client(directory.path(), "prometheus.example");
    let foreign = Authority::new().client(directory.path(), "foreign.example");
    let password = format!("alice:{PASSWORD}");
    for version in ["1.2", "1.3"] {
        let get = |path: &str, options: &[&str]| {
            exporter.get(path, &[&["--tls-max", version], options].concat())
        };
        assert_eq!(
            get("/metrics", &["-u", &password, "--cert", &right]).status,
            200
        );
        assert_eq!(get("/metrics", &["--cert", &right]).status, 401);
        assert_eq!(get("/metrics", &["-u", &password]).status, 403);
        assert_eq!(get("/-/healthy", &[]).status, 200);
        assert_eq!(
            get("/-/healthy", &["--cert", &foreign]).status,
            0,
            "a foreign certificate ends the handshake"
        );
    }
}

#[test]
fn allowed_names_are_compared_with_every_presented_certificate() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let settings = "  client_auth_type: VerifyClientCertIfGiven\n  client_allowed_sans: [prometheus.example]\n";
    let (exporter, _volume) = start(&authority, settings);
    let password = format!("alice:{PASSWORD}");
    let status = |certificate: &str| {
        exporter
            .get("/metrics", &["-u", &password, "--cert", certificate])
            .status
    };
    assert_eq!(
        status(&authority.client(directory.path(), "prometheus.example")),
        200
    );
    assert_eq!(
        status(&authority.client(directory.path(), "other.example")),
        403
    );
    assert_eq!(exporter.get("/metrics", &["-u", &password]).status, 200);
}
