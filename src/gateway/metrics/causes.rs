//! The few words by which refusals, failed handshakes and limits are counted; a label never has a foreign text.

use std::io;

use rustls::{CertificateError, Error as TlsError};

/// A closed set of label values, each with a place in an array of counters.
pub(super) trait Words: Copy + 'static {
    /// Every value, in the order of its number.
    const ALL: &'static [Self];
    /// The label's value.
    fn word(self) -> &'static str;
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $value:ident $word:literal)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::gateway) enum $name { $($(#[$each])* $value),* }

        impl Words for $name {
            const ALL: &'static [Self] = &[$(Self::$value),*];

            fn word(self) -> &'static str {
                match self { $(Self::$value => $word),* }
            }
        }
    };
}

words! {
    /// Why a call was refused.
    Denial {
        /// It brought none.
        NoToken "no_token"
        /// Its `exp` has come.
        ExpiredToken "expired_token"
        /// It was revoked.
        RevokedToken "revoked_token"
        /// Anything else that is wrong with it.
        BadToken "bad_token"
        /// It is of the external issuer, and something is wrong with it.
        ExternalToken "external_token"
        /// The certificate was revoked.
        RevokedCertificate "revoked_certificate"
        /// The token's scopes, namespaces or binding do not allow the call.
        Forbidden "forbidden"
        /// The first message of a token of some namespaces is above Temporal's limit.
        TooLarge "message_too_large"
        /// What the decision needs could not be had from Temporal, or from the external issuer.
        Undecided "undecided"
        /// The audit log can't be written.
        Audit "audit"
        /// A limit; which one is in `limit_hits_total`.
        Limit "limit"
    }
}

words! {
    /// Why a handshake failed.
    HandshakeFailure {
        /// It took too long.
        Timeout "timeout"
        /// The client left, or reset the connection.
        Gone "client_gone"
        /// What came is not TLS.
        NotTls "not_tls"
        /// The client sent no certificate.
        NoCertificate "no_certificate"
        /// Its certificate is past its end or not yet valid.
        ExpiredCertificate "expired_certificate"
        /// Its certificate was revoked.
        RevokedCertificate "revoked_certificate"
        /// Its certificate is not of a trusted CA, or not good for clients.
        UntrustedCertificate "untrusted_certificate"
        /// No common version, suite or protocol.
        NoCommonParameters "no_common_parameters"
        /// The client refused our certificate, or gave up with an alert.
        ClientAlert "client_alert"
        /// Anything else.
        Other "other"
    }
}

words! {
    /// A limit that was hit.
    Limit {
        /// `WARDEN_MAX_CONNECTIONS`.
        Connections "connections"
        /// `WARDEN_MAX_CONNECTIONS_PER_ADDRESS`.
        ConnectionsPerAddress "connections_per_address"
        /// `WARDEN_HANDSHAKE_TIMEOUT`.
        HandshakeTime "handshake_time"
        /// Failed handshakes of one address that are recorded one by one.
        HandshakeRecords "handshake_records"
        /// No HTTP/2 preface, or no whole HTTP/1.1 head, in time.
        HeaderTime "header_time"
        /// Headers of a call above 32 KiB.
        HeaderList "header_list"
        /// `WARDEN_MAX_STREAMS`.
        Streams "streams"
        /// Rapid resets (CVE-2023-44487), endless CONTINUATION frames (CVE-2024-27316), endless tiny DATA frames, header
        /// lists far above the limit.
        Flood "http2_flood"
        /// Too many bad tokens on one connection.
        BadTokens "bad_tokens"
        /// PING, SETTINGS and other frames that ask for nothing.
        Frames "idle_frames"
        /// Bytes of answers that clients do not take.
        Unread "unread_answers"
        /// Every upstream connection is full.
        Upstream "upstream_streams"
    }
}

impl HandshakeFailure {
    /// As the metrics and the audit log name it.
    pub(in crate::gateway) fn word(self) -> &'static str {
        Words::word(self)
    }

    /// The class of a failed `accept`.
    pub(in crate::gateway) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => return Self::Timeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                return Self::Gone;
            }
            _ => {}
        }
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        inner.map_or(Self::Other, Self::of_tls)
    }

    fn of_tls(error: &TlsError) -> Self {
        use CertificateError as Bad;
        match error {
            TlsError::NoCertificatesPresented => Self::NoCertificate,
            TlsError::InvalidCertificate(bad) => match bad {
                Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                    Self::ExpiredCertificate
                }
                Bad::Revoked => Self::RevokedCertificate,
                _ => Self::UntrustedCertificate,
            },
            TlsError::InvalidMessage(_) => Self::NotTls,
            TlsError::PeerIncompatible(_) | TlsError::NoApplicationProtocol => Self::NoCommonParameters,
            TlsError::AlertReceived(_) => Self::ClientAlert,
            _ => Self::Other,
        }
    }
}

impl Limit {
    /// The limit by which hyper or h2 ended a connection; which flood it was h2 tells only the client.
    pub(in crate::gateway) fn of(error: &hyper::Error) -> Option<Self> {
        if error.is_timeout() {
            return Some(Self::HeaderTime);
        }
        let h2 = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
        if !h2.is_library() {
            return None;
        }
        let reasons = [h2::Reason::ENHANCE_YOUR_CALM, h2::Reason::COMPRESSION_ERROR];
        h2.reason().filter(|reason| reasons.contains(reason)).map(|_| Self::Flood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_once_and_in_the_order_of_its_number() {
        fn check<T: Words + std::fmt::Debug>(number: impl Fn(T) -> usize) {
            let words: Vec<_> = T::ALL.iter().map(|value| value.word()).collect();
            let mut unique = words.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), words.len(), "{words:?}");
            assert!(T::ALL.iter().enumerate().all(|(at, value)| number(*value) == at));
        }
        check(|value: Denial| value as usize);
        check(|value: HandshakeFailure| value as usize);
        check(|value: Limit| value as usize);
    }

    #[test]
    fn a_handshake_failure_is_told_by_its_cause() {
        let of = |kind: io::ErrorKind, error: TlsError| HandshakeFailure::of(&io::Error::new(kind, error));
        let invalid = |bad| of(io::ErrorKind::InvalidData, TlsError::InvalidCertificate(bad));
        assert_eq!(invalid(CertificateError::Revoked), HandshakeFailure::RevokedCertificate);
        assert_eq!(invalid(CertificateError::Expired), HandshakeFailure::ExpiredCertificate);
        assert_eq!(invalid(CertificateError::UnknownIssuer), HandshakeFailure::UntrustedCertificate);
        let none = of(io::ErrorKind::InvalidData, TlsError::NoCertificatesPresented);
        assert_eq!(none, HandshakeFailure::NoCertificate);
        assert_eq!(HandshakeFailure::of(&io::ErrorKind::TimedOut.into()), HandshakeFailure::Timeout);
        assert_eq!(HandshakeFailure::of(&io::ErrorKind::ConnectionReset.into()), HandshakeFailure::Gone);
    }
}
