//! Certificates to try TLS with: an authority, and of it one for a broker on this machine and one
//! for a client.
//!
//! ```sh
//! cargo run --example certificates -- tls
//! taffrail serve --tls-certificate tls/broker.pem --tls-key tls/broker.key \
//!     --tls-client-ca tls/ca.pem
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "files of a person, and no broker's"
)]

use std::{error::Error, fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

fn params(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn write(
    folder: &Path,
    name: &str,
    params: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(), Box<dyn Error>> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    fs::write(folder.join(format!("{name}.pem")), certificate.pem())?;
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("name a folder for the files")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;

    let key = KeyPair::generate()?;
    let mut authority = params("an authority to try", &[])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key)?.pem();
    fs::write(folder.join("ca.pem"), certificate)?;

    let issuer = Issuer::new(authority, key);
    let mut broker = params("a broker", &["localhost", "127.0.0.1", "::1"])?;
    broker.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    write(folder, "broker", &broker, &issuer)?;
    let mut client = params("a client", &[])?;
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    write(folder, "client", &client, &issuer)
}
