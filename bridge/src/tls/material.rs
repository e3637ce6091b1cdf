//! What a TLS configuration is made of.

use std::sync::Arc;

use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};

use super::TlsError;

/// All of it: two that are equal make the same configuration.
#[derive(PartialEq, Eq)]
pub(super) struct Material {
    /// The server's certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// Who must have signed the certificate of a client; without any, clients show none.
    pub(super) clients: Option<Vec<CertificateDer<'static>>>,
    /// What devices have to trust, PEM.
    pub(super) ca: Option<String>,
}

impl Material {
    /// For the page: whoever looks at it shows no certificate.
    ///
    /// # Errors
    /// What `of_pair` makes of an error of certificate and key.
    pub(super) fn web_config(
        &self,
        of_pair: impl FnOnce(&rustls::Error) -> TlsError,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let (chain, key) = (self.chain.clone(), self.key.clone_key());
        Self { chain, key, clients: None, ca: None }.config(of_pair)
    }

    /// TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// What `of_pair` makes of an error of certificate and key, or the client CA cannot be used.
    pub(super) fn config(
        &self,
        of_pair: impl FnOnce(&rustls::Error) -> TlsError,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| of_clients(&error))?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                for certificate in clients {
                    roots.add(certificate.clone()).map_err(|error| of_clients(&error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| of_clients(&error))?)
            }
        };
        let config = builder.with_single_cert(self.chain.clone(), self.key.clone_key());
        config.map(Arc::new).map_err(|error| of_pair(&error))
    }
}

fn of_clients(error: &dyn std::error::Error) -> TlsError {
    TlsError::configured(format!("mqtts.client_ca cannot be used: {error}; name a file with CA certificates"))
}
