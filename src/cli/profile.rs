//! `--profile NAME` of `token mint` and `cert issue`: what the stock Temporal CLI and the SDKs read as one of their
//! profiles (`temporal --profile NAME …`), so that a person outside the container connects without a flag.

mod document;

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use self::document::{Entry, Tls};
use super::{
    Exit,
    connect::SERVER_NAME,
    output::{print, print_line},
};
use crate::{
    config::{Config, load},
    secret::Secret,
};

/// Arguments that both commands share.
#[derive(Debug, Clone, Args)]
pub(super) struct Profiling {
    /// Put it into this profile of the stock Temporal CLI, for `temporal --profile NAME` outside the container.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    profile: Option<String>,
    /// The file of profiles, the CLI's own when not given; - prints one that holds certificate and key too.
    #[arg(long, value_name = "FILE", requires = "profile")]
    profile_file: Option<PathBuf>,
    /// Where that CLI reaches the gateway; 127.0.0.1 and the gateway's port when not given.
    #[arg(long, value_name = "HOST:PORT", requires = "profile")]
    address: Option<String>,
}

/// Where a profile goes. The file was read before anything was made for it.
#[derive(Debug)]
pub(super) struct Target {
    name: String,
    /// `None` = standard output.
    file: Option<PathBuf>,
    before: String,
    address: String,
}

/// What a connection is made of.
#[derive(Debug)]
pub(super) enum Material {
    /// Files of this machine, which are renewed where they are.
    Folder(PathBuf),
    /// For a machine that has no such files.
    Contents { trust: String, chain: String, key: Secret<String> },
}

impl Profiling {
    /// Where the profile goes, if one is asked for; an unreadable file is found before a token exists that would be lost.
    pub(super) fn target(&self, config: &Config) -> Result<Option<Target>, String> {
        let Some(name) = self.profile.clone() else { return Ok(None) };
        let address = self.address.clone();
        let address = address.unwrap_or_else(|| format!("127.0.0.1:{}", config.gateway.listen.port()));
        let file = match &self.profile_file {
            Some(file) if file.as_os_str() == "-" => None,
            Some(file) => Some(file.clone()),
            None => Some(
                load::temporal_profiles().ok_or("there is no HOME; name the file of profiles with --profile-file")?,
            ),
        };
        let before = file.as_deref().map_or_else(|| Ok(String::new()), read)?;
        document::check(&before).map_err(|why| format!("{}: {why}", shown(file.as_deref())))?;
        Ok(Some(Target { name, file, before, address }))
    }
}

impl Target {
    /// Whether it goes to standard output, and must hold everything itself.
    pub(super) fn is_printed(&self) -> bool {
        self.file.is_none()
    }

    /// Writes the profile and says how it is used; `told` is what is in it.
    pub(super) fn put(
        &self,
        config: &Config,
        namespace: Option<&String>,
        token: Option<&str>,
        material: &Material,
        told: &str,
    ) -> ExitCode {
        let entry = Entry {
            address: &self.address,
            namespace: namespace.or_else(|| config.temporal.namespaces.first()).map_or("default", String::as_str),
            token,
            server_name: SERVER_NAME,
            tls: if config.tls_enabled { tls(material) } else { Tls::Off },
        };
        let put = document::put(&self.before, &self.name, &entry);
        let saved = put.and_then(|text| match &self.file {
            None => {
                print(&text);
                Ok(())
            }
            Some(file) => save(file, &text)
                .map_err(|e| format!("can't be written: {e}; name another with --profile-file, or - to print it")),
        });
        match saved {
            Ok(()) => self.say(told),
            Err(why) => {
                eprintln!("temporal-warden: {}: {why}", shown(self.file.as_deref()));
                Exit::Failed.into()
            }
        }
    }

    /// Standard output may be a file of profiles.
    fn say(&self, told: &str) -> ExitCode {
        match &self.file {
            None => eprintln!("profile {}: {told}", self.name),
            Some(file) => {
                print_line(&format!("wrote profile {} to {}: {told}", self.name, file.display()));
                let own = load::temporal_profiles().is_some_and(|own| own == *file);
                let named = if own { String::new() } else { format!("--config-file {} ", file.display()) };
                print_line(&format!("use it: temporal {named}--profile {} workflow list", self.name));
            }
        }
        Exit::Done.into()
    }
}

/// A client certificate's files, as they are or as they read.
pub(super) fn material(target: &Target, folder: &Path) -> Result<Material, String> {
    let folder = std::path::absolute(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    if !target.is_printed() {
        return Ok(Material::Folder(folder));
    }
    let read = |name: &str| {
        let file = folder.join(name);
        fs::read_to_string(&file)
            .map_err(|e| format!("{} can't be read: {e}; name the folder with --certs", file.display()))
    };
    let (trust, chain) = (read("ca.crt")?, read("temporal-client.crt")?);
    Ok(Material::Contents { trust, chain, key: read("temporal-client.key")?.into() })
}

fn tls(material: &Material) -> Tls<'_> {
    match material {
        Material::Folder(folder) => Tls::Paths(folder),
        Material::Contents { trust, chain, key } => Tls::Contents { trust, chain, key: key.expose() },
    }
}

fn shown(file: Option<&Path>) -> String {
    file.map_or_else(|| "the profile".to_owned(), |file| file.display().to_string())
}

/// A file that is not there yet has no profiles.
fn read(file: &Path) -> Result<String, String> {
    match fs::read_to_string(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|e| format!("{} can't be read: {e}; name another with --profile-file", file.display())),
    }
}

/// Written beside and renamed, for its owner alone: it holds a token. Whoever owned the file goes on owning it.
fn save(file: &Path, text: &str) -> io::Result<()> {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if let Some(parent) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut staged = file.clone().into_os_string();
    staged.push(format!(".{}", std::process::id()));
    let written = write_new(Path::new(&staged), text).and_then(|()| {
        if let Ok(owner) = fs::metadata(&file) {
            // Only root may, and only root's file would change hands.
            let _ = std::os::unix::fs::chown(&staged, Some(owner.uid()), Some(owner.gid()));
        }
        fs::rename(&staged, &file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    let mut staged = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    staged.write_all(text.as_bytes())?;
    staged.sync_all()
}
