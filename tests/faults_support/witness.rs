//! Does a set belong together? Asked by a reader that looks all the time, as an application would read.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use temporal_warden::{
    pki::{Certificate, Key, Purpose, verify},
    tokens::{SigningKey, Verifier, kid, kids},
};

/// Files by name, of one look.
pub type Look = BTreeMap<&'static str, Vec<u8>>;

const SERVER: [&str; 12] = [
    "ca.crt",
    "ca.key",
    "temporal-server.crt",
    "temporal-server.key",
    "temporal-client.crt",
    "temporal-client.key",
    "temporal-jwt-private.key",
    "temporal-jwt-public.key",
    "temporal-jwks.json",
    "system-token.jwt",
    "worker-token.jwt",
    "client-token.jwt",
];

/// The files of a folder of the server or of a bundle.
pub fn names(folder: &Path) -> &'static [&'static str] {
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("client") => &["ca.crt", "temporal-client.crt", "temporal-client.key", "client-token.jwt"],
        Some("worker") => &["ca.crt", "temporal-client.crt", "temporal-client.key", "worker-token.jwt"],
        Some("ui") => &["ca.crt", "temporal-client.crt", "temporal-client.key", "ui-token.jwt"],
        Some("postgres") => &["ca.crt", "server.crt", "server.key", "password"],
        _ => &SERVER,
    }
}

/// Every file of the generation that `..data` names now; `None` before the first.
pub fn look(folder: &Path) -> Option<Look> {
    loop {
        let generation = fs::canonicalize(folder.join("..data")).ok()?;
        let read = |name: &&'static str| Ok((*name, fs::read(generation.join(name))?));
        match names(folder).iter().map(read).collect::<io::Result<Look>>() {
            Ok(look) => return Some(look),
            // It may be gone when three more were published meanwhile, and never while it is the current one.
            Err(_) if fs::canonicalize(folder.join("..data")).ok()? != generation => {}
            Err(cause) => panic!("{}: {cause}", generation.display()),
        }
    }
}

/// By the flat names, one after the other, with a pause in which a publication fits.
pub fn look_flat(folder: &Path) -> Option<Look> {
    let read = |name: &&'static str| {
        thread::sleep(Duration::from_micros(300));
        Some((*name, fs::read(folder.join(name)).ok()?))
    };
    names(folder).iter().map(read).collect()
}

/// Why the files of a look do not belong together.
pub fn mixed(look: &Look) -> Result<(), String> {
    let text = |name: &str| String::from_utf8(look[name].clone()).map_err(|e| format!("{name}: {e}"));
    let trust = Certificate::all_from_pem(&text("ca.crt")?).map_err(|e| format!("ca.crt {e}"))?;
    if look.contains_key("ca.key") {
        pair(&trust[0], &text("ca.key")?).map_err(|e| format!("ca.key {e}"))?;
    }
    for name in look.keys().filter(|name| name.ends_with(".crt") && **name != "ca.crt") {
        let chain = Certificate::all_from_pem(&text(name)?).map_err(|e| format!("{name} {e}"))?;
        pair(&chain[0], &text(&name.replace(".crt", ".key"))?).map_err(|e| format!("{name}: its key {e}"))?;
        let purpose = if name.contains("client") { Purpose::Client } else { Purpose::Server };
        verify(&chain, &trust, purpose, chain[0].not_before).map_err(|e| format!("{name} {e}"))?;
    }
    if look.contains_key("temporal-jwks.json") { tokens(look) } else { Ok(()) }
}

fn pair(certificate: &Certificate, key: &str) -> Result<(), String> {
    certificate.check_key(&Key::from_pem(key).map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}

fn tokens(look: &Look) -> Result<(), String> {
    let text = |name: &str| String::from_utf8_lossy(&look[name]).into_owned();
    let key = SigningKey::from_pem(&text("temporal-jwt-private.key")).map_err(|e| e.to_string())?;
    let jwks = text("temporal-jwks.json");
    if key.public_pem() != text("temporal-jwt-public.key") || !kids(&jwks).contains(&key.public().kid) {
        return Err("the signing key is not the one its public forms show".to_owned());
    }
    Verifier::new(&jwks, "temporal-warden", "temporal").map_err(|e| format!("temporal-jwks.json {e}"))?;
    for name in look.keys().filter(|name| name.ends_with(".jwt")) {
        let by = kid(&text(name)).ok_or_else(|| format!("{name} is no token"))?;
        if !kids(&jwks).contains(&by) {
            return Err(format!("{name} is signed by a key that the JWKS of the same set does not list"));
        }
    }
    Ok(())
}

/// A reader in a thread of its own, who never rests.
pub struct Witness {
    stop: Arc<AtomicBool>,
    readers: Vec<JoinHandle<usize>>,
}

impl Witness {
    /// Reads each folder as `by` does until it is told to stop.
    pub fn of(folders: Vec<PathBuf>, by: fn(&Path) -> Option<Look>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reader = |folder: PathBuf| {
            let stop = stop.clone();
            thread::spawn(move || watch(&folder, by, &stop))
        };
        let readers = folders.into_iter().map(reader).collect();
        Self { stop, readers }
    }

    /// How many different sets were seen; panics if one was mixed.
    pub fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.readers.into_iter().map(|reader| reader.join().expect("a reader saw a mixed set")).sum()
    }

    /// Ends a test at once when something was seen.
    pub fn check(&self) {
        assert!(!self.readers.iter().any(JoinHandle::is_finished), "a reader saw a mixed set");
    }
}

fn watch(folder: &Path, by: fn(&Path) -> Option<Look>, stop: &AtomicBool) -> usize {
    let (mut last, mut sets) = (None, 0);
    while !stop.load(Ordering::Relaxed) {
        if let Some(seen) = by(folder).filter(|seen| last.as_ref() != Some(seen)) {
            mixed(&seen).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
            last = Some(seen);
            sets += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    sets
}
