//! TLS as `sslmode` asks for it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tidemill_engine::sink::SinkError;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::url::Verify;

/// A connector. The provider is named: the process may hold several.
pub(crate) fn connector(verify: Verify, ca: Option<&Path>) -> Result<MakeRustlsConnect, SinkError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let bug = |e: &dyn std::fmt::Display| SinkError::bug(format!("cannot set up TLS: {e}"));
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| bug(&e))?;
    let config = match verify {
        Verify::Named => builder.with_root_certificates(roots(ca)?).with_no_client_auth(),
        Verify::Signed | Verify::Nobody => {
            let inner = match verify {
                Verify::Nobody => None,
                _ => {
                    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), provider.clone());
                    Some(inner.build().map_err(|e| bug(&e))?)
                }
            };
            let lenient = Arc::new(Lenient { inner, provider });
            builder.dangerous().with_custom_certificate_verifier(lenient).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, SinkError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let person = |what: String| SinkError::person(format!("ca {}: {what}", path.display()));
            let found = CertificateDer::pem_file_iter(path).map_err(|e| person(format!("cannot be read: {e}")))?;
            for certificate in found {
                let certificate = certificate.map_err(|e| person(format!("is not PEM: {e}")))?;
                roots.add(certificate).map_err(|e| person(format!("holds a certificate that is no root: {e}")))?;
            }
            if roots.is_empty() {
                return Err(person("holds no certificate".into()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(SinkError::person("this system has no root certificates: give them as `ca`"));
            }
        }
    }
    Ok(roots)
}

/// `verify-ca` asks for a signature only, `prefer` and `require` for nothing: they keep listeners out, not impostors.
#[derive(Debug)]
struct Lenient {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last: whatever else is wrong has been said before.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
