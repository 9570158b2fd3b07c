//! Certificates for tests of TLS: an authority, and what it has signed.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

/// An authority that signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM.
pub struct Certified {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority for tests");
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Its certificate, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes `ca.pem`.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        Ok(fs::write(folder.join("ca.pem"), self.pem())?)
    }

    /// A certificate for a server or a client of this DNS name.
    ///
    /// # Errors
    /// When it is no DNS name.
    pub fn certify(&self, name: &str) -> Result<Certified> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        // Another than the authority's: OpenSSL takes a certificate whose issuer has its own name for signed by itself.
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Certified { cert, key: key.serialize_pem() })
    }
}

impl Certified {
    /// Writes `<name>.pem`, `<name>.key`, and both in `<name>.both.pem`.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        fs::write(folder.join(format!("{name}.pem")), &self.cert)?;
        fs::write(folder.join(format!("{name}.key")), &self.key)?;
        Ok(fs::write(folder.join(format!("{name}.both.pem")), format!("{}{}", self.key, self.cert))?)
    }
}
