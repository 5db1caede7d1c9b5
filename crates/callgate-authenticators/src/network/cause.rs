//! Why a connection failed, in Callgate's own words.
//!
//! The text of a library may quote what was received, and means little to an operator. Only the texts of
//! the operating system are used as they are.

use std::{error::Error, io, iter};

use rustls::{AlertDescription, CertificateError};

/// One line for the innermost error of a system call or of TLS; `None` if there is neither.
pub(crate) fn connection_cause(error: &(dyn Error + 'static)) -> Option<String> {
    let chain: Vec<_> = iter::successors(Some(error), |&error| error.source()).collect();
    chain.iter().rev().find_map(|error| {
        let of_tls = error.downcast_ref().map(of_tls);
        of_tls.or_else(|| error.downcast_ref().map(of_io))
    })
}

/// The same for an error that is known to be one of a system call.
pub(crate) fn of_io(error: &io::Error) -> String {
    if let Some(inner) = error.get_ref() {
        if let Some(error) = inner.downcast_ref::<rustls::Error>() {
            return of_tls(error);
        }
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return of_io(error);
        }
    }
    let text = error.to_string();
    if error.raw_os_error().is_some() || text.starts_with("failed to lookup address") {
        return text;
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "the server closed the connection".to_owned()
        }
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::InvalidData => "the answer is malformed".to_owned(),
        kind => kind.to_string(),
    }
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::InvalidMessage(_) => "the server does not use TLS on this port".to_owned(),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure,
        ) => "the server has no TLS version or cipher in common with Callgate".to_owned(),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server requires a client certificate: set `tls.cert` and `tls.key`".to_owned()
        }
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked,
        ) => "the server does not accept Callgate's client certificate".to_owned(),
        _ => "the TLS handshake failed".to_owned(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    let what = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet"
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            let name = expected.to_str();
            return format!("the server's certificate is not valid for the name `{name}`");
        }
        CertificateError::NotValidForName => "is not valid for the server's name",
        CertificateError::UnknownIssuer => "is not signed by a trusted authority",
        CertificateError::Revoked => "has been revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not a certificate for servers"
        }
        _ => "cannot be verified",
    };
    format!("the server's certificate {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_never_contains_text_of_a_library() {
        let eof = || io::Error::new(io::ErrorKind::UnexpectedEof, "canary: https://docs.example");
        let tls = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let expired = || rustls::Error::InvalidCertificate(CertificateError::Expired);
        for (error, expected) in [
            (eof(), "the server closed the connection"),
            (io::Error::other(eof()), "the server closed the connection"),
            (io::Error::other("canary"), "other error"),
            (io::Error::from_raw_os_error(111), "Connection refused (os error 111)"),
            (tls(expired()), "the server's certificate has expired"),
            (io::Error::other(tls(expired())), "the server's certificate has expired"),
            (tls(rustls::Error::General("canary".to_owned())), "the TLS handshake failed"),
            (io::Error::new(io::ErrorKind::InvalidData, "canary"), "the answer is malformed"),
        ] {
            assert_eq!(connection_cause(&error).as_deref(), Some(expected), "{error:?}");
        }
        assert_eq!(connection_cause(&std::fmt::Error), None);
    }
}
