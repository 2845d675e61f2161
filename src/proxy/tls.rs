//! TLS to upstreams: rustls with the bundled roots, or with those of a PEM file.

use crate::error::Error;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The settings of every TLS connection; the bundled roots are only unpacked when the first one is made.
pub(crate) struct Tls {
    given: Option<RootCertStore>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// Bundled roots, or those that a PEM file holds.
    ///
    /// # Errors
    /// The file can't be read or holds no certificate.
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self { given: ca_file.map(read_roots).transpose()?, config: OnceLock::new() }))
    }

    /// What a connection is made with.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.config.get_or_init(|| Arc::new(self.build())).clone()
    }

    fn build(&self) -> ClientConfig {
        let roots = self.given.clone().unwrap_or_else(|| RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        // The provider compiled in supports both versions: this can't fail, whatever the input.
        let mut config = versions.expect("ring has TLS 1.2 and 1.3").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, Error> {
    let what = || format!("read certificates from {}", path.display());
    let pem = std::fs::read(path).map_err(|source| Error::Io { what: what(), source })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|cause| Error::Config(format!("{}: {cause:?}", what())))?;
        // A system's bundle may hold a certificate that is not a usable root; the others still count.
        if let Err(cause) = roots.add(certificate) {
            log::debug!("{}: {cause}", what());
        }
    }
    if roots.is_empty() {
        return Err(Error::Config(format!("{}: the file holds no usable certificate (PEM)", what())));
    }
    Ok(roots)
}
