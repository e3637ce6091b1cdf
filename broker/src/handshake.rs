//! TLS handshakes that fail, in words that say what to do.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

/// The content type of a TLS record that holds a handshake: how TLS begins.
pub const TLS_HANDSHAKE: u8 = 22;

/// Why a handshake failed, for the operator.
pub fn why(error: &io::Error) -> String {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "it ended the connection within the TLS handshake; if it is a device, does it trust the server's CA?"
                    .to_owned()
            }
            _ => format!("the TLS handshake failed: {error}"),
        };
    };
    match error {
        Error::InvalidMessage(_) => {
            "it does not speak TLS, as this port does: turn TLS on in the client, or give it the port of plain MQTT"
                .to_owned()
        }
        Error::PeerIncompatible(error) => format!(
            "it speaks neither TLS 1.2 nor 1.3, or knows no modern cipher or key exchange ({error:?}): update its TLS library"
        ),
        Error::NoCertificatesPresented => {
            "it showed no certificate of its own, which this server asks every client for: give it one, with its key"
                .to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the certificate that it showed has expired: give it a new one".to_owned()
        }
        Error::InvalidCertificate(error) => format!(
            "the certificate that it showed is not accepted ({error}): give it one that the CA for clients has signed"
        ),
        Error::AlertReceived(alert) => of_alert(*alert),
        error => format!("the TLS handshake failed: {error}"),
    }
}

/// What a client says with an alert.
fn of_alert(alert: AlertDescription) -> String {
    use AlertDescription::{
        BadCertificate, CertificateExpired, CertificateUnknown, ProtocolVersion, UnknownCA,
        UnsupportedCertificate,
    };
    match alert {
        UnknownCA | BadCertificate | CertificateUnknown | UnsupportedCertificate => format!(
            "it does not accept the server's certificate ({alert:?}): give it the server's CA to trust, and a host name or \
             address that the certificate holds; is its clock right?"
        ),
        CertificateExpired => {
            "it says that the server's certificate is not valid now: is its clock right?".to_owned()
        }
        ProtocolVersion => "it speaks neither TLS 1.2 nor 1.3: update its TLS library".to_owned(),
        alert => format!("it gave up the TLS handshake ({alert:?})"),
    }
}
