//! The certificate of the API: signed with its own key, so that whoever has it knows the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};

use crate::error::CliError;

/// A certificate and its private key, both PEM, for this machine and the address that the API
/// listens on. It does not expire: it is known by itself, and replaced by removing its file.
///
/// # Errors
/// When no key can be made.
pub(crate) fn self_signed(listening: IpAddr) -> Result<(String, String), CliError> {
    let failed = |e: rcgen::Error| CliError::failed(format!("cannot make a certificate: {e}"));
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "stele");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let localhost = "localhost".try_into().map_err(failed)?;
    params.subject_alt_names.push(SanType::DnsName(localhost));
    let mut addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    if !listening.is_unspecified() && !addresses.contains(&listening) {
        addresses.push(listening);
    }
    params.subject_alt_names.extend(addresses.into_iter().map(SanType::IpAddress));
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
