//! The cluster's own certificates and kubeconfigs. They live as long as the cluster, in memory.

use std::{fs, net::Ipv4Addr};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::layout::Layout;

/// Users of the API but the kubelets: file name, common name, organisation.
const USERS: [(&str, &str, Option<&str>); 4] = [
    ("admin", "admin", Some("system:masters")),
    ("controllers", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
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
        Ipv4Addr::LOCALHOST,
        layout.service_address(),
        layout.api_address(),
    ];
    serving(layout, &ca, "apiserver", &names, &addresses)?;
    for (file, name, organisation) in USERS {
        user(layout, &ca, file, name, organisation)?;
    }
    for node in layout.nodes() {
        let addresses = [Ipv4Addr::LOCALHOST, node.address];
        serving(
            layout,
            &ca,
            &node.kubelet_server(),
            &[&node.name],
            &addresses,
        )?;
        let name = format!("system:node:{}", node.name);
        user(
            layout,
            &ca,
            &node.kubelet_user(),
            &name,
            Some("system:nodes"),
        )?;
    }
    let tokens = KeyPair::generate()?;
    fs::write(layout.pki("service-accounts.key"), tokens.serialize_pem())?;
    fs::write(layout.pki("service-accounts.pub"), tokens.public_key_pem())?;
    Ok(())
}

type Ca = CertifiedIssuer<'static, KeyPair>;

fn user(
    layout: &Layout,
    ca: &Ca,
    file: &str,
    name: &str,
    organisation: Option<&str>,
) -> Result<()> {
    let mut params = named(name, organisation);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(layout, ca, file, params)?;
    fs::write(layout.kubeconfig(file), kubeconfig(layout, file))?;
    Ok(())
}

fn serving(
    layout: &Layout,
    ca: &Ca,
    file: &str,
    names: &[&str],
    addresses: &[Ipv4Addr],
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
            .push(SanType::IpAddress((*address).into()));
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
            "server": format!("https://{}:{}", layout.api_address(), layout.api_port()),
            "certificate-authority": path("ca.crt")}}],
        "users": [{"name": user, "user": {
            "client-certificate": path(&format!("{user}.crt")),
            "client-key": path(&format!("{user}.key"))}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
    })
    .to_string()
}
