//! Certificates and kubeconfigs, made new for each test bed and thrown away with it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::TestbedError;

/// The first address of the service range, under which the API server is known inside.
const SERVICE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 43, 0, 1));

/// The files of a test bed's keys and certificates.
#[derive(Debug, Clone)]
pub(super) struct Pki {
    pub(super) ca: PathBuf,
    pub(super) server_certificate: PathBuf,
    pub(super) server_key: PathBuf,
    pub(super) accounts_key: PathBuf,
    pub(super) accounts_public: PathBuf,
}

/// A component and the certificate it shows.
pub(super) struct Client {
    /// Name of its kubeconfig, without `.kubeconfig`.
    pub(super) name: &'static str,
    user: &'static str,
    group: Option<&'static str>,
}

/// Everybody who gets a kubeconfig.
pub(super) const CLIENTS: [Client; 4] = [
    Client { name: "admin", user: "testbed-admin", group: Some("system:masters") },
    Client { name: "controller-manager", user: "system:kube-controller-manager", group: None },
    Client { name: "scheduler", user: "system:kube-scheduler", group: None },
    Client { name: "kwok", user: "testbed-kwok", group: Some("system:masters") },
];

/// Makes keys, certificates and kubeconfigs for an API server at `endpoint`.
pub(super) fn make(dir: &Path, endpoint: &str) -> Result<Pki, TestbedError> {
    let pki = dir.join("pki");
    fs::create_dir_all(&pki).map_err(TestbedError::io(format!("create {}", pki.display())))?;
    let files = Pki {
        ca: pki.join("ca.crt"),
        server_certificate: pki.join("apiserver.crt"),
        server_key: pki.join("apiserver.key"),
        accounts_key: pki.join("service-accounts.key"),
        accounts_public: pki.join("service-accounts.pub"),
    };
    let (authority, ca) = authority()?;
    write(&files.ca, &ca)?;
    let (certificate, key) = server(&authority)?;
    write(&files.server_certificate, &certificate)?;
    write(&files.server_key, &key)?;
    let accounts = KeyPair::generate().map_err(malformed)?;
    write(&files.accounts_key, &accounts.serialize_pem())?;
    write(&files.accounts_public, &accounts.public_key_pem())?;
    for who in &CLIENTS {
        let (certificate, key) = client(&authority, who)?;
        let text = kubeconfig(endpoint, who.name, &ca, &certificate, &key);
        write(&kubeconfig_path(dir, who.name), &text)?;
    }
    Ok(files)
}

/// Where the kubeconfig of a client is.
pub(super) fn kubeconfig_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.kubeconfig"))
}

fn malformed(error: rcgen::Error) -> TestbedError {
    TestbedError::malformed("make a certificate")(error)
}

fn write(path: &Path, text: &str) -> Result<(), TestbedError> {
    fs::write(path, text).map_err(TestbedError::io(format!("write {}", path.display())))
}

fn params(common_name: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params
}

fn authority() -> Result<(Issuer<'static, KeyPair>, String), TestbedError> {
    let mut params = params("stele test bed", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(malformed)?;
    let certificate = params.self_signed(&key).map_err(malformed)?;
    Ok((Issuer::new(params, key), certificate.pem()))
}

fn server(authority: &Issuer<'static, KeyPair>) -> Result<(String, String), TestbedError> {
    let mut params = params("kube-apiserver", None);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    for name in names {
        let name = name.try_into().map_err(malformed)?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    params.subject_alt_names.push(SanType::IpAddress(SERVICE_ADDRESS));
    issue(authority, params)
}

fn client(
    authority: &Issuer<'static, KeyPair>,
    who: &Client,
) -> Result<(String, String), TestbedError> {
    let mut params = params(who.user, who.group);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    issue(authority, params)
}

fn issue(
    authority: &Issuer<'static, KeyPair>,
    mut params: CertificateParams,
) -> Result<(String, String), TestbedError> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(malformed)?;
    let certificate = params.signed_by(&key, authority).map_err(malformed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// A kubeconfig that needs no other file.
fn kubeconfig(endpoint: &str, user: &str, ca: &str, certificate: &str, key: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: testbed
clusters:
  - name: testbed
    cluster:
      server: {endpoint}
      certificate-authority-data: {}
contexts:
  - name: testbed
    context: {{cluster: testbed, user: {user}}}
users:
  - name: {user}
    user:
      client-certificate-data: {}
      client-key-data: {}
",
        STANDARD.encode(ca),
        STANDARD.encode(certificate),
        STANDARD.encode(key)
    )
}
