//! The cluster's own certificates and kubeconfigs. They live as long as the cluster, in memory.

use std::{fs, net::IpAddr};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::layout::Layout;

/// Users of the API: file name, common name, organisation.
const USERS: [(&str, &str, Option<&str>); 5] = [
    ("admin", "admin", Some("system:masters")),
    ("controllers", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("kubelet", "system:node:node1", Some("system:nodes")),
    (
        "apiserver-to-kubelet",
        "kube-apiserver-kubelet-client",
        Some("system:masters"),
    ),
];

/// Writes the CA, the serving certificates, one client certificate and kubeconfig per user, and the ServiceAccount key.
///
/// # Errors
/// A file could not be written.
pub fn write(layout: &Layout) -> Result<()> {
    fs::create_dir_all(layout.run.join("pki"))?;
    let mut params = named("secure-exporter test cluster", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(layout.pki("ca.crt"), ca.pem())?;

    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
    ];
    let addresses = [
        "127.0.0.1",
        layout.service_address(),
        &layout.node_address(),
    ]
    .map(str::to_owned);
    serving(layout, &ca, "apiserver", &names, &addresses)?;
    let node = [layout.node_name()];
    serving(
        layout,
        &ca,
        "kubelet-server",
        &node,
        &["127.0.0.1".to_owned(), layout.node_address()],
    )?;
    for (file, name, organisation) in USERS {
        let mut params = named(name, organisation);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        sign(layout, &ca, file, params)?;
        fs::write(layout.kubeconfig(file), kubeconfig(layout, file))?;
    }
    let tokens = KeyPair::generate()?;
    fs::write(layout.pki("service-accounts.key"), tokens.serialize_pem())?;
    fs::write(layout.pki("service-accounts.pub"), tokens.public_key_pem())?;
    Ok(())
}

type Ca = CertifiedIssuer<'static, KeyPair>;

fn serving(
    layout: &Layout,
    ca: &Ca,
    file: &str,
    names: &[&str],
    addresses: &[String],
) -> Result<()> {
    let mut params = named(file, None);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for name in names {
        params
            .subject_alt_names
            .push(SanType::DnsName((*name).try_into()?));
    }
    for address in addresses {
        params
            .subject_alt_names
            .push(SanType::IpAddress(address.parse::<IpAddr>()?));
    }
    sign(layout, ca, file, params)
}

fn sign(layout: &Layout, ca: &Ca, file: &str, mut params: CertificateParams) -> Result<()> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    fs::write(
        layout.pki(&format!("{file}.crt")),
        params.signed_by(&key, ca)?.pem(),
    )?;
    fs::write(layout.pki(&format!("{file}.key")), key.serialize_pem())?;
    Ok(())
}

fn named(name: &str, organisation: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(organisation) = organisation {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn kubeconfig(layout: &Layout, user: &str) -> String {
    let path = |file: &str| layout.pki(file).display().to_string();
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://{}:{}", layout.node_address(), layout.api_port()),
            "certificate-authority": path("ca.crt")}}],
        "users": [{"name": user, "user": {
            "client-certificate": path(&format!("{user}.crt")),
            "client-key": path(&format!("{user}.key"))}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
    })
    .to_string()
}
