//! `control.sock`: root only (mode 0600, peer credentials checked), one request per connection, any number of
//! replies. Frames are those of the gateway's link.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};

use super::status::Status;
use crate::{
    audit::By,
    gateway::link::{KeysKept, Revocations, receive, send},
    rotation,
    secret::Secret,
};

/// File name of the socket in the runtime folder.
const SOCKET: &str = "control.sock";
/// A peer that connects says what it wants at once; nobody may hold a slot of PID 1.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// What may be asked of a running PID 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Is it serving?
    Health,
    /// The whole status document.
    Status,
    /// Make certificates or tokens now.
    Make {
        /// What.
        request: rotation::Request,
    },
    /// Revoke tokens, subjects or certificates now.
    Revoke {
        /// What.
        revoked: Revocations,
    },
    /// Make requests for certificates that somebody else signs.
    Csr {
        /// Which.
        wish: rotation::CsrWish,
    },
    /// Install what somebody else signed.
    Install {
        /// What.
        given: rotation::Installation,
    },
    /// Make a client certificate for somebody further.
    Issue {
        /// Whose.
        wish: rotation::IssueWish,
    },
    /// Mint a token.
    Mint {
        /// What it should say.
        wish: rotation::Wish,
    },
    /// What would be done to dependents, in lines.
    Dependents,
    /// Tell dependents now.
    TellDependents,
    /// Read the configuration and files again.
    Reload,
    /// What a reload would change, in lines.
    ConfigDiff,
    /// The keys of the external issuer, as the gateway fetched them last.
    IssuerKeys,
}

/// What PID 1 answers; [`Reply::Line`] may come any number of times before the last one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// A line for the person who asked.
    Line {
        /// The text, without a line end.
        text: String,
    },
    /// Answer to [`Request::Health`].
    Health {
        /// Whether `/health` says SERVING.
        serving: bool,
        /// Why not.
        reason: String,
    },
    /// Answer to [`Request::Status`].
    Status(Box<Status>),
    /// Answer to [`Request::Csr`].
    Requests {
        /// One for each leaf.
        requests: Vec<rotation::Csr>,
    },
    /// Answer to [`Request::Issue`].
    Issued(Box<rotation::Issued>),
    /// Answer to [`Request::Mint`].
    Token {
        /// The compact token.
        token: Secret<String>,
    },
    /// Answer to [`Request::IssuerKeys`].
    Keys(KeysKept),
    /// What was asked is done.
    Done,
    /// What was asked failed.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
}

/// Failures of the control socket, on either side.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No PID 1 listens there.
    #[error("no running warden at {}: {source}", path.display())]
    NotRunning {
        /// Path of the socket.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The socket is there but this user may not use it.
    #[error("the control socket {} is for root only: {source}; run this as root", path.display())]
    Forbidden {
        /// Path of the socket.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("failed to listen on {}: {source}", path.display())]
    Bind {
        /// Path of the socket.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the running warden broke off the conversation: {0}")]
    Broken(#[from] io::Error),
}

/// Makes the socket in `runtime_dir`, replacing one that a killed predecessor left.
pub fn bind(runtime_dir: &Path) -> Result<UnixListener, ControlError> {
    let path = runtime_dir.join(SOCKET);
    let fail = |source| ControlError::Bind { path: path.clone(), source };
    match fs::symlink_metadata(&path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(&path).map_err(fail)?,
        Ok(_) => return Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and not a socket"))),
        Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(fail)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
    Ok(listener)
}

/// One accepted, authenticated conversation on PID 1's side.
#[derive(Debug)]
pub struct Server {
    stream: UnixStream,
    by: By,
}

impl Server {
    /// Checks the peer and reads its request; `None` for a peer that may not ask, or that said nothing.
    pub async fn accept(mut stream: UnixStream) -> Option<(Self, Request)> {
        let peer = stream.peer_cred().ok()?;
        if peer.uid() != 0 && peer.uid() != nix::unistd::geteuid().as_raw() {
            return None;
        }
        let request = timeout(REQUEST_LIMIT, receive(&mut stream)).await.ok()?.ok()??;
        let by = By::Control { uid: peer.uid(), pid: peer.pid() };
        Some((Self { stream, by }, request))
    }

    /// Who asks, for the audit log.
    pub fn by(&self) -> By {
        self.by
    }

    /// Answers; a peer that went away is nobody's failure.
    pub async fn reply(&mut self, reply: &Reply) {
        let _ = timeout(REQUEST_LIMIT, send(&mut self.stream, reply)).await;
    }
}

/// The side of a command.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to the running warden.
    pub async fn connect(runtime_dir: &Path) -> Result<Self, ControlError> {
        let path = runtime_dir.join(SOCKET);
        match UnixStream::connect(&path).await {
            Ok(stream) => Ok(Self { stream }),
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(ControlError::Forbidden { path, source })
            }
            Err(source) => Err(ControlError::NotRunning { path, source }),
        }
    }

    /// Asks, hands every [`Reply::Line`] to `line`, returns the last reply.
    pub async fn ask(mut self, request: &Request, mut line: impl FnMut(&str)) -> Result<Reply, ControlError> {
        send(&mut self.stream, request).await?;
        loop {
            match receive(&mut self.stream).await? {
                Some(Reply::Line { text }) => line(&text),
                Some(last) => return Ok(last),
                None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn lines_arrive_in_order_before_the_last_reply() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let listener = bind(dir.path()).unwrap();
            let server = async {
                let (stream, _) = listener.accept().await.unwrap();
                let (mut server, request) = Server::accept(stream).await.unwrap();
                assert!(matches!(request, Request::Health));
                for text in ["one", "two"] {
                    server.reply(&Reply::Line { text: text.into() }).await;
                }
                server.reply(&Reply::Done).await;
            };
            let mut lines = Vec::new();
            let client = async {
                let client = Client::connect(dir.path()).await.unwrap();
                client.ask(&Request::Health, |l| lines.push(l.to_owned())).await.unwrap()
            };
            let (last, ()) = tokio::join!(client, server);
            assert!(matches!(last, Reply::Done));
            assert_eq!(lines, ["one", "two"]);
        });
    }

    #[test]
    fn the_socket_is_for_its_owner_only_and_replaces_a_dead_one() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            drop(bind(dir.path()).unwrap());
            let _second = bind(dir.path()).unwrap();
            let mode = fs::metadata(dir.path().join(SOCKET)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        });
    }

    #[test]
    fn a_file_in_the_sockets_place_is_never_removed() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(SOCKET), "mine").unwrap();
            let error = bind(dir.path()).unwrap_err().to_string();
            assert!(error.starts_with("failed to listen on ") && error.contains("control.sock"), "{error}");
            assert!(error.ends_with("it is there and not a socket"), "{error}");
            assert_eq!(fs::read(dir.path().join(SOCKET)).unwrap(), b"mine");
        });
    }

    #[test]
    fn nobody_there_is_said_with_the_path() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let error = Client::connect(dir.path()).await.unwrap_err();
            assert!(matches!(&error, ControlError::NotRunning { .. }), "{error}");
            assert!(error.to_string().contains("control.sock"));
        });
    }

    #[test]
    fn a_warden_that_ends_before_it_answers_is_told_from_one_that_never_ran() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let listener = bind(dir.path()).unwrap();
            let server = async { drop(Server::accept(listener.accept().await.unwrap().0).await.unwrap()) };
            let client =
                async { Client::connect(dir.path()).await.unwrap().ask(&Request::Health, |_| {}).await.unwrap_err() };
            let (error, ()) = tokio::join!(client, server);
            assert!(error.to_string().starts_with("the running warden broke off the conversation: "), "{error}");
        });
    }
}
