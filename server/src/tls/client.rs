//! TLS towards others: whose certificates are believed by this server as a client.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::certificate::read_chain;
use super::{TlsError, provider};

/// A client that believes the authorities in that PEM file and no others, or, without one, those of the system.
///
/// # Errors
/// [`TlsError`], also when the system has no authorities.
pub fn client(authorities: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authorities {
        for certificate in read_chain(path)? {
            roots.add(certificate).map_err(|source| TlsError::Unfit { path: path.to_owned(), source })?;
        }
    } else {
        // Of what the system has, what cannot be read is no authority.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities);
        }
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
