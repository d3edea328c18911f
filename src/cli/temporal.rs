//! The `temporal` front: takes the guide's flags and hands everything else to the real Temporal CLI.
//!
//! Beyond what the real CLI accepts it knows `--auth-plugin jwt`, `--auth-token-file FILE` (anywhere, both as `--f v` and
//! `--f=v`) and `temporal namespace create NAME`. The token travels in the environment, where `ps` does not show it.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::PathBuf,
    process::Command,
};

use super::temporal_flags::{self, Word};
use crate::{config::load, secret::Secret};

/// Where the token goes.
const API_KEY: &str = "TEMPORAL_API_KEY";
/// An authorization header by environment would win over the token.
const HEADER: &str = "TEMPORAL_GRPC_META_AUTHORIZATION";
/// What the image presets for TLS.
const PRESET_TLS: [&str; 4] = [
    "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_CLIENT_KEY_PATH",
    "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    "TEMPORAL_TLS_SERVER_NAME",
];

/// What is to be executed: the real CLI's arguments, and where the token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Arguments, without the program's name.
    pub args: Vec<OsString>,
    /// The file whose token is used.
    pub token_file: Option<PathBuf>,
    /// The token must be an argument: `--disable-config-env` makes the CLI blind to the environment.
    pub token_in_args: bool,
    /// Whether an argument says something about TLS.
    pub names_tls: bool,
}

/// Why the arguments are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Usage {
    /// No value.
    #[error("flag needs an argument: {0}")]
    NoValue(&'static str),
    /// Only JWT is known.
    #[error("--auth-plugin {0:?} is not known; the only one is jwt")]
    Plugin(String),
    /// Plugin without token.
    #[error("--auth-plugin needs --auth-token-file FILE as well")]
    NoToken,
    /// Twice.
    #[error("--auth-token-file is given more than once")]
    TwoTokens,
    /// Two sources of one header.
    #[error("--auth-token-file and {0} both give an authorization; keep one of them")]
    Conflict(&'static str),
    /// Two names.
    #[error("namespace create: give the name once, as {0:?} or with --namespace")]
    TwoNames(String),
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("--auth-token-file {}: {source}; give a token file you may read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("--auth-token-file {}: {what}; it must hold one token and nothing else", path.display())]
    Content { path: PathBuf, what: &'static str },
}

/// Translates the arguments after the program's name.
pub fn plan(args: impl IntoIterator<Item = OsString>) -> Result<Plan, Usage> {
    let words = temporal_flags::words(args);
    let completing = first_command(&words).is_some_and(|c| c.as_bytes().starts_with(b"__complete"));
    let mut taken = Taken::default();
    let mut kept = Vec::new();
    let mut rest = words.into_iter().peekable();
    while let Some(word) = rest.next() {
        match own_flag(&word) {
            // While a command line is completed its last word is unfinished: it stays as it is.
            Some(_) if completing && rest.peek().is_none() => kept.push(word),
            Some(flag) => match taken.take(flag, word) {
                Err(_) if completing => {}
                result => result?,
            },
            None => kept.push(word),
        }
    }
    if !completing {
        taken.check(&kept)?;
        namespace_create(&mut kept)?;
    }
    let token_in_args = taken.file.is_some() && kept.iter().any(|w| w.is_switched_on("disable-config-env"));
    let names_tls = kept.iter().any(|w| w.flag().is_some_and(|f| f == "tls" || f.starts_with("tls-")));
    let token_file = taken.file.filter(|_| !completing);
    Ok(Plan { args: kept.into_iter().flat_map(Word::into_args).collect(), token_file, token_in_args, names_tls })
}

fn own_flag(word: &Word) -> Option<&'static str> {
    let flag = word.flag()?;
    temporal_flags::OWN.into_iter().find(|own| *own == flag)
}

fn first_command(words: &[Word]) -> Option<&OsString> {
    words.iter().find_map(Word::positional)
}

/// The front's own flags, taken out of the arguments.
#[derive(Default)]
struct Taken {
    plugin: bool,
    file: Option<PathBuf>,
}

impl Taken {
    fn take(&mut self, flag: &'static str, word: Word) -> Result<(), Usage> {
        let is_plugin = flag == temporal_flags::AUTH_PLUGIN;
        let dashed = if is_plugin { "--auth-plugin" } else { "--auth-token-file" };
        let value = word.into_value().filter(|v| !v.is_empty()).ok_or(Usage::NoValue(dashed))?;
        if is_plugin {
            self.plugin = true;
            return if value == "jwt" { Ok(()) } else { Err(Usage::Plugin(value.to_string_lossy().into_owned())) };
        }
        match self.file.replace(value.into()) {
            Some(_) => Err(Usage::TwoTokens),
            None => Ok(()),
        }
    }

    fn check(&self, kept: &[Word]) -> Result<(), Usage> {
        if self.file.is_none() {
            return if self.plugin { Err(Usage::NoToken) } else { Ok(()) };
        }
        if kept.iter().any(|w| w.flag() == Some("api-key")) {
            return Err(Usage::Conflict("--api-key"));
        }
        let header = |w: &Word| w.flag() == Some("grpc-meta") && w.value().is_some_and(is_authorization);
        if kept.iter().any(header) { Err(Usage::Conflict("--grpc-meta authorization=")) } else { Ok(()) }
    }
}

/// Whether a `KEY=VALUE[,KEY=VALUE]` of `--grpc-meta` sets the authorization header.
fn is_authorization(value: &OsString) -> bool {
    let text = value.to_string_lossy().to_ascii_lowercase();
    text.split(',').any(|pair| pair.split('=').next().is_some_and(|key| key.trim() == "authorization"))
}

/// `namespace create NAME` → `operator namespace create -n NAME`.
fn namespace_create(words: &mut Vec<Word>) -> Result<(), Usage> {
    let places: Vec<usize> = (0..words.len()).filter(|i| words[*i].positional().is_some()).collect();
    let says = |n: usize, text: &str| places.get(n).is_some_and(|i| words[*i].positional().is_some_and(|w| w == text));
    if !(says(0, "namespace") && says(1, "create")) {
        return Ok(());
    }
    if let Some(place) = places.get(2) {
        let name = words[*place].positional().cloned().unwrap_or_default();
        let flagged = words.iter().any(|w| w.flag() == Some("namespace"));
        if flagged || places.len() > 3 {
            return Err(Usage::TwoNames(name.to_string_lossy().into_owned()));
        }
        words[*place] = Word::flag_with("-n", "namespace", name);
    }
    words.insert(places[0], Word::Positional("operator".into()));
    Ok(())
}

/// The changes to the environment: what is removed, what is set.
fn environment_changes(plan: &Plan, tls_off: bool) -> (Vec<&'static str>, Vec<(&'static str, &'static str)>) {
    let mut removed = Vec::new();
    let mut set = Vec::new();
    if plan.token_file.is_some() {
        removed.extend([API_KEY, HEADER]);
    }
    if tls_off {
        removed.extend(PRESET_TLS);
        // A token would turn TLS on by itself.
        if !plan.names_tls {
            set.push(("TEMPORAL_TLS", "false"));
        }
    }
    (removed, set)
}

fn token(path: PathBuf) -> Result<Secret<String>, TokenError> {
    let text = match fs::read_to_string(&path) {
        Ok(text) => Secret::new(text),
        Err(source) => return Err(TokenError::Unreadable { path, source }),
    };
    let token = text.expose().trim();
    let what = match token {
        "" => "the file is empty",
        t if t.contains(char::is_whitespace) => "the file has more than one line or word",
        t if !t.bytes().all(|b| b.is_ascii_graphic()) => "the file is no token",
        t => return Ok(Secret::new(t.to_owned())),
    };
    Err(TokenError::Content { path, what })
}

/// Becomes the real CLI; returns an exit code only when that is not possible.
pub fn main(args: impl IntoIterator<Item = OsString>) -> i32 {
    match plan(args).map_err(|e| e.to_string()).and_then(command) {
        Ok(mut command) => {
            let error = command.exec();
            let program = command.get_program().to_string_lossy();
            eprintln!("Error: cannot run the Temporal CLI {program}: {error}; set WARDEN_TEMPORAL_CLI");
            1
        }
        Err(message) => {
            eprintln!("Error: {message}");
            1
        }
    }
}

fn command(mut plan: Plan) -> Result<Command, String> {
    let environment: Vec<(String, String)> = load::environment()
        .into_iter()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let front = load::front(environment);
    let tls_off = !front.tls_enabled;
    let (removed, set) = environment_changes(&plan, tls_off);
    let mut command = Command::new(front.cli_program);
    command.arg0("temporal");
    for name in removed {
        command.env_remove(name);
    }
    command.envs(set);
    if let Some(path) = plan.token_file.take() {
        let token = token(path).map_err(|e| e.to_string())?;
        if plan.token_in_args {
            command.arg(format!("--api-key={}", token.expose()));
            if tls_off && !plan.names_tls {
                command.arg("--tls=false");
            }
        } else {
            command.env(API_KEY, token.expose());
        }
    }
    command.args(plan.args);
    Ok(command)
}

#[cfg(test)]
#[path = "temporal_tests.rs"]
mod tests;
