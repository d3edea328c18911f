//! The names, owners and modes of everything that is made: the tables of contract §1.

use zeroize::Zeroizing;

use crate::{
    config::{Config, SanName},
    pki::{Profile, Purpose},
    store::File,
    tokens::Scope,
};

/// The trust bundle, current CA first.
pub const CA_CERT: &str = "ca.crt";
pub(super) const CA_KEY: &str = "ca.key";
pub(super) const SIGNING_KEY: &str = "temporal-jwt-private.key";
pub(super) const PUBLIC_KEY: &str = "temporal-jwt-public.key";
pub(super) const JWKS: &str = "temporal-jwks.json";
pub(super) const PASSWORD: &str = "postgres-password";
pub(super) const REVOCATIONS: &str = "revocations.json";
pub(super) const STATE: &str = "state.json";

/// Names directly in the folder: each is a link into the generation. `bundles` is a folder there.
pub(super) const FLAT: [&str; 16] = [
    CA_CERT,
    CA_KEY,
    "temporal-server.crt",
    "temporal-server.key",
    "temporal-client.crt",
    "temporal-client.key",
    SIGNING_KEY,
    PUBLIC_KEY,
    JWKS,
    "system-token.jwt",
    "worker-token.jwt",
    "client-token.jwt",
    PASSWORD,
    REVOCATIONS,
    STATE,
    "bundles",
];

/// A leaf certificate and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LeafId {
    /// Port 7233.
    Server,
    /// Application clients.
    Client,
    /// Worker processes.
    Worker,
    /// The web UI.
    Ui,
    /// PostgreSQL.
    Postgres,
}

impl LeafId {
    pub(super) const ALL: [Self; 5] = [Self::Server, Self::Client, Self::Worker, Self::Ui, Self::Postgres];

    /// Path of the certificate within a generation.
    pub(super) const fn cert(self) -> &'static str {
        match self {
            Self::Server => "temporal-server.crt",
            Self::Client => "temporal-client.crt",
            Self::Worker => "bundles/worker/temporal-client.crt",
            Self::Ui => "bundles/ui/temporal-client.crt",
            Self::Postgres => "bundles/postgres/server.crt",
        }
    }

    /// Path of the key within a generation.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Server => "temporal-server.key",
            Self::Client => "temporal-client.key",
            Self::Worker => "bundles/worker/temporal-client.key",
            Self::Ui => "bundles/ui/temporal-client.key",
            Self::Postgres => "bundles/postgres/server.key",
        }
    }

    /// One word for it, as `cert csr` takes it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Ui => "ui",
            Self::Postgres => "postgres",
        }
    }

    /// Path of the key of a request under way, where it is not the leaf's current one.
    pub(super) const fn requested_key(self) -> &'static str {
        match self {
            Self::Server => "bundles/requested/server.key",
            Self::Client => "bundles/requested/client.key",
            Self::Worker => "bundles/requested/worker.key",
            Self::Ui => "bundles/requested/ui.key",
            Self::Postgres => "bundles/requested/postgres.key",
        }
    }

    pub(super) const fn purpose(self) -> Purpose {
        match self {
            Self::Server | Self::Postgres => Purpose::Server,
            Self::Client | Self::Worker | Self::Ui => Purpose::Client,
        }
    }

    /// Common name of the client certificates, by which they are told apart.
    pub(super) const fn client_name(self) -> Option<&'static str> {
        match self {
            Self::Client => Some("temporal-client"),
            Self::Worker => Some("temporal-worker"),
            Self::Ui => Some("temporal-ui"),
            Self::Server | Self::Postgres => None,
        }
    }

    /// Names a server certificate must have.
    pub(super) fn sans(self, config: &Config) -> &[SanName] {
        match self {
            Self::Server => &config.certs.server_sans,
            Self::Postgres => &config.certs.postgres_sans,
            _ => &[],
        }
    }

    /// What to issue; `None` where the configuration gives no name to certify (no database host).
    pub(super) fn profile(self, config: &Config) -> Option<Profile> {
        let sans = self.sans(config).to_vec();
        match self {
            Self::Postgres if sans.is_empty() => None,
            Self::Server => Some(Profile::Server { sans }),
            Self::Postgres => Some(Profile::Postgres { sans }),
            _ => self.client_name().map(|cn| Profile::Client { cn: cn.to_owned() }),
        }
    }
}

/// A token the warden mints for itself and its consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum TokenId {
    /// Administration.
    System,
    /// Worker processes.
    Worker,
    /// Application clients.
    Client,
    /// The web UI.
    Ui,
}

impl TokenId {
    pub(super) const ALL: [Self; 4] = [Self::System, Self::Worker, Self::Client, Self::Ui];

    /// Path within a generation.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::System => "system-token.jwt",
            Self::Worker => "worker-token.jwt",
            Self::Client => "client-token.jwt",
            Self::Ui => "bundles/ui/ui-token.jwt",
        }
    }

    pub(super) const fn sub(self) -> &'static str {
        match self {
            Self::System => "temporal-system",
            Self::Worker => "temporal-worker",
            Self::Client => "temporal-client",
            Self::Ui => "temporal-ui",
        }
    }

    /// The certificate it is bound to with `WARDEN_TOKEN_BINDING`: the one that lies beside it.
    pub(super) const fn leaf(self) -> LeafId {
        match self {
            Self::System | Self::Client => LeafId::Client,
            Self::Worker => LeafId::Worker,
            Self::Ui => LeafId::Ui,
        }
    }

    pub(super) const fn scope(self) -> Scope {
        match self {
            Self::System => Scope::System,
            Self::Worker => Scope::Worker,
            Self::Client | Self::Ui => Scope::Client,
        }
    }
}

/// A file of the server's own folder with its permission bits.
pub(super) fn file(path: &str, text: &str) -> File {
    File { bytes: Zeroizing::new(text.as_bytes().to_vec()), mode: mode(path), gid: None }
}

/// Permission bits of a file of the server's own folder.
pub(super) fn mode(path: &str) -> u32 {
    match path {
        CA_CERT | "temporal-server.crt" | "temporal-client.crt" | PUBLIC_KEY | JWKS => 0o644,
        "temporal-server.key" | "temporal-client.key" | "worker-token.jwt" | "client-token.jwt" => 0o640,
        _ => 0o600,
    }
}
