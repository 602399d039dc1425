//! Whose certificates are believed: those of the authorities that everybody knows, and of those that an operator names.

use std::sync::Arc;

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// What trusts the authorities that Mozilla's products trust.
///
/// # Errors
/// If this build has no version of TLS.
pub fn everybody() -> Result<ClientConfig, String> {
    config(known()).map_err(|error| error.to_string())
}

/// The same, and further authorities: certificates in PEM, one after the other.
///
/// # Errors
/// What is wrong with them.
pub fn also(pem: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = known();
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("it is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    match roots.len() > before {
        true => config(roots).map_err(|error| error.to_string()),
        false => Err("there is no certificate in PEM in it".to_owned()),
    }
}

fn known() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}
