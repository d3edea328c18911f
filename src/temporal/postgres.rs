//! A connection to PostgreSQL over verified TLS, and what its failures mean.

use std::{error::Error as _, fs, path::Path, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio_postgres::{Client, NoTls, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::schema::{PostgresJob, TlsJob};

/// Longest time one attempt to connect takes, TLS and login included.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What an attempt to connect came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// May pass by itself: why.
    Retry(String),
    /// The database does not exist.
    Missing,
    /// Waiting does not help: why, and what to do.
    Fatal(String),
}

/// Connects to `database`.
pub(super) async fn connect(job: &PostgresJob, database: &str) -> Result<Client, Failure> {
    let mut config = tokio_postgres::Config::new();
    config.host(&job.host).port(job.port).user(&job.user).dbname(database).application_name("temporal-warden");
    config.connect_timeout(ATTEMPT);
    if let Some(password) = &job.password {
        config.password(password.expose());
    }
    let attempt = async {
        match &job.tls {
            None => driven(config.ssl_mode(tokio_postgres::config::SslMode::Disable).connect(NoTls).await),
            Some(tls) => {
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                let tls = client_config(tls).map_err(Failure::Fatal)?;
                driven(config.connect(MakeRustlsConnect::new(tls)).await)
            }
        }
    };
    let timeout = || Failure::Retry(format!("no answer within {}", humantime::format_duration(ATTEMPT)));
    tokio::time::timeout(ATTEMPT, attempt).await.map_err(|_| timeout())?
}

/// Lets the connection run beside the client.
fn driven<S, T>(
    connected: Result<(Client, tokio_postgres::Connection<S, T>), tokio_postgres::Error>,
) -> Result<Client, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = connected.map_err(|e| classify(&e))?;
    tokio::spawn(connection);
    Ok(client)
}

/// An error in words, with its causes.
pub(super) fn words(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

fn classify(error: &tokio_postgres::Error) -> Failure {
    let words = words(error);
    match error.code() {
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => Failure::Missing,
        Some(code) if *code == SqlState::INVALID_PASSWORD => Failure::Fatal(format!(
            "{words}; the password the role has is another one: correct POSTGRES_PWD, or set the role's password"
        )),
        Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            Failure::Fatal(format!("{words}; correct POSTGRES_USER, or pg_hba.conf"))
        }
        None if words.contains("password missing") => {
            Failure::Fatal("PostgreSQL asks for a password and there is none; set POSTGRES_PWD".to_owned())
        }
        // It may pass: the database may not have been given its new certificate yet.
        None if words.contains("invalid peer certificate") => Failure::Retry(format!(
            "{words} (SQL_CA must be the CA that signed PostgreSQL's certificate, POSTGRES_SEEDS a name in it)"
        )),
        _ => Failure::Retry(words),
    }
}

fn client_config(tls: &TlsJob) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::new(roots(&tls.ca_file)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|e| format!("{}: {e}; give a CA certificate", tls.ca_file.display()))?;
    let verifier: Arc<dyn ServerCertVerifier> =
        if tls.verify_host { verifier } else { Arc::new(ChainOnly { inner: verifier }) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match &tls.client {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            let key_der = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|e| format!("{}: {e}; give a PEM key in SQL_CERT_KEY", key.display()))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key_der)
                .map_err(|e| format!("{} and {}: {e}", cert.display(), key.display()))
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{} cannot be read: {e}; give Temporal's user access to it", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    all.map_err(|e| format!("{}: {e}; give PEM certificates", path.display()))
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| format!("{}: {e}; give CA certificates", path.display()))?;
    }
    Ok(roots)
}

/// Verifies chain and time but not the name: `SQL_HOST_VERIFICATION=false`.
#[derive(Debug)]
struct ChainOnly {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        // The chain is verified before the name, so an error about the name means that the chain is good.
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_certificates_or_keys_are_named_with_what_to_give() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["db".to_owned()]).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let cut = "-----BEGIN CERTIFICATE-----\nMAAA\n";
        let whole = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";
        let (ca, text) = (file("ca", &made.cert.pem()), file("text", "text"));
        let (cut, no_ca) = (file("cut", cut), file("no-ca", whole));
        let none = folder.path().join("none");
        for (ca_file, client, why) in [
            (&text, None, "; give a CA certificate"),
            (&cut, None, "; give PEM certificates"),
            (&no_ca, None, "; give CA certificates"),
            (&none, None, "; give Temporal's user access to it"),
            (&ca, Some((ca.clone(), text.clone())), "; give a PEM key in SQL_CERT_KEY"),
        ] {
            let tls = TlsJob { ca_file: ca_file.clone(), verify_host: true, client };
            let refused = client_config(&tls).map(|_| ()).unwrap_err();
            assert!(refused.ends_with(why) && refused.contains(folder.path().to_str().unwrap()), "{refused}");
        }
    }
}
