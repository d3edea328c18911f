//! The only reader of the environment and of secret files; environment over file over `default.toml`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

use super::{
    Config,
    check::{self, Found},
    check_external,
    errors::Errors,
    kept::Kept,
    official,
    parse::is_off,
    raw::{Raw, Setting},
    secrets::{password, secret_file, unreadable},
};

/// Every key with its meaning and default.
pub(super) const DEFAULTS: &str = include_str!("default.toml");
/// Read when it exists and `WARDEN_CONFIG_FILE` names no other.
const CONFIG_FILE: &str = "/etc/temporal/warden.toml";
/// Names the configuration file; the one `WARDEN_*` variable that is no key of the file.
const CONFIG_FILE_VARIABLE: &str = "WARDEN_CONFIG_FILE";
/// Table of the variables whose names are the official images'.
const OFFICIAL_TABLE: &str = "temporal";

/// One row of `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The variable.
    pub name: String,
    /// Its value; `[redacted]` for a secret that is set.
    pub value: String,
    /// `environment`, a file, or `default`.
    pub source: String,
}

/// The environment of this process. The one place that asks for it.
pub fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Whether a person who reads at a terminal wants colours there: `NO_COLOR` (no-color.org) and a terminal without them say no.
pub fn wants_colour() -> bool {
    given("NO_COLOR").is_none() && given("TERM").is_some_and(|terminal| terminal != "dumb")
}

fn given(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The configuration of this process.
pub fn load() -> Result<Config, Errors> {
    Source::of_process().load().map(|loaded| (*loaded.config).clone())
}

/// The settings of this process, one row each.
pub fn settings_of_process() -> Result<Vec<Row>, Errors> {
    Source::of_process().load().map(|loaded| loaded.rows())
}

/// Where this process has its configuration from, to read it again.
#[derive(Debug)]
pub struct Source {
    environment: BTreeMap<String, String>,
    files: Kept,
}

impl Source {
    /// The environment as it is now; it does not change while a process lives.
    pub fn of_process() -> Self {
        let texts = environment().into_iter().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self { environment: texts.filter(|(_, v)| !v.is_empty()).collect(), files: Kept::default() }
    }

    /// Reads everything, each time anew.
    pub fn load(&self) -> Result<Loaded, Errors> {
        loaded(&self.environment, |path| self.files.read(path))
    }
}

/// A configuration and what it was made of.
#[derive(Clone)]
pub struct Loaded {
    /// Checked.
    pub config: Rc<Config>,
    settings: serde_json::Value,
    found: Found,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Loaded {
    /// The rows of `config show`.
    pub fn rows(&self) -> Vec<Row> {
        rows(&self.settings)
    }

    /// A setting as it was written.
    pub(super) fn setting(&self, key: &str) -> Option<Setting> {
        setting(&self.settings, key)
    }

    /// What was read from the files that settings name: the setting's name, and whether both have the same.
    pub(super) fn same_contents(&self, other: &Self) -> [(&'static str, bool); 4] {
        [
            ("temporal.POSTGRES_PWD_FILE", self.found.password == other.found.password),
            ("dynamic_config_file", self.found.dynamic_config == other.found.dynamic_config),
            ("external_jwks_file", self.found.external_jwks == other.found.external_jwks),
            ("external_ca_file", self.found.external_ca == other.found.external_ca),
        ]
    }

    /// `next` as far as it can come into force in a running warden: settings that `stays` accepts keep our value. The
    /// mixture is checked like any configuration.
    pub(super) fn taking(&self, next: &Self, stays: impl Fn(&str) -> bool) -> Result<Self, Errors> {
        let mut settings = next.settings.clone();
        for key in known_keys().iter().filter(|key| stays(key)) {
            if let (Some(ours), Some(slot)) =
                (self.settings.pointer(&pointer(key)), settings.pointer_mut(&pointer(key)))
            {
                *slot = ours.clone();
            }
        }
        checked(settings, next.found.clone(), Vec::new())
    }
}

/// The configuration that `environment` and the files `read` gives make, and the rows of `config show`.
pub fn from(
    environment: impl IntoIterator<Item = (String, String)>,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<(Config, Vec<Row>), Errors> {
    let environment = environment.into_iter().filter(|(_, v)| !v.is_empty()).collect();
    loaded(&environment, read).map(|loaded| ((*loaded.config).clone(), loaded.rows()))
}

/// The same with what it was made of.
pub fn loaded(
    environment: &BTreeMap<String, String>,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, Errors> {
    let mut errors = Vec::new();
    let layers = layers(environment, &read, &mut errors);
    let settings = settings(&layers, &mut errors);
    let raw = raw(&settings)?;
    let password = password(&raw, &read, &mut errors);
    let ca_key_passphrase = secret_file(&raw.ca_key_passphrase_file, "passphrase", &read, &mut errors);
    let mut file = |setting: &Setting| {
        let read = read(Path::new(setting.given()?));
        read.map_err(|e| errors.push(unreadable(setting, &e))).ok()
    };
    let found = Found {
        password,
        ca_key_passphrase,
        dynamic_config: file(&raw.dynamic_config_file),
        external_jwks: file(&raw.external_jwks_file),
        external_ca: file(&raw.external_ca_file).or_else(|| check_external::authorities(&raw, &read)),
        passthrough: official::passthrough(environment),
        notices: official::notices(environment),
    };
    checked(settings, found, errors)
}

fn checked(settings: serde_json::Value, found: Found, errors: Vec<String>) -> Result<Loaded, Errors> {
    let config = check::check(&raw(&settings)?, found.clone(), errors)?;
    Ok(Loaded { config: Rc::new(config), settings, found })
}

fn raw(settings: &serde_json::Value) -> Result<Raw, Errors> {
    let raw = serde_json::from_value(settings.clone());
    raw.map_err(|e| Errors(vec![format!("default.toml does not fit this program: {e}")]))
}

/// `WARDEN_RUNTIME_DIR` of this process, where a running warden is asked; however wrong the rest of the settings is.
pub fn runtime_dir() -> PathBuf {
    let source = Source::of_process();
    let layers = layers(&source.environment, &|path: &Path| source.files.read(path), &mut Vec::new());
    layers.find_value("runtime_dir").ok().as_ref().and_then(text).unwrap_or_default().into()
}

/// Where the stock Temporal CLI of this user keeps its profiles; `None` without a home.
pub fn temporal_profiles() -> Option<PathBuf> {
    let set = |name: &str| given(name).map(PathBuf::from);
    let home = || set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    set("TEMPORAL_CONFIG_FILE").or_else(|| home().map(|folder| folder.join("temporalio/temporal.toml")))
}

/// What the `temporal` front needs; it works however wrong the rest of the settings is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// The real Temporal CLI.
    pub cli_program: PathBuf,
    /// `TEMPORAL_TLS_ENABLED`.
    pub tls_enabled: bool,
}

/// The front's settings.
pub fn front(environment: impl IntoIterator<Item = (String, String)>) -> Front {
    let environment: BTreeMap<String, String> = environment.into_iter().filter(|(_, v)| !v.is_empty()).collect();
    let figment = layers(&environment, &|path: &Path| std::fs::read_to_string(path), &mut Vec::new());
    let value = |key: &str| figment.find_value(key).ok().as_ref().and_then(text).unwrap_or_default();
    Front {
        cli_program: PathBuf::from(value("temporal_cli")),
        tls_enabled: !is_off(&value("temporal.TEMPORAL_TLS_ENABLED")),
    }
}

fn layers(
    environment: &BTreeMap<String, String>,
    read: &impl Fn(&Path) -> io::Result<String>,
    errors: &mut Vec<String>,
) -> Figment {
    let known = known_keys();
    let mut figment = Figment::from(Layer::new("default", parse(DEFAULTS).unwrap_or_default()));
    let named = environment.get(CONFIG_FILE_VARIABLE);
    let path = named.map_or(CONFIG_FILE, String::as_str);
    match read(Path::new(path)) {
        Ok(text) => match parse(&text) {
            Ok(dict) => figment = figment.merge(Layer::new(path, only_known(dict, &known, path, errors))),
            Err(e) => errors.push(format!("{path}: {e}; correct the file")),
        },
        Err(e) if named.is_none() && e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => errors.push(format!("{CONFIG_FILE_VARIABLE}={path:?}: cannot be read: {e}; give a readable file")),
    }
    figment.merge(Layer::new("environment", from_environment(environment, &known, errors)))
}

fn parse(text: &str) -> Result<Dict, String> {
    let mut profiles = Toml::string(text).data().map_err(|e| e.to_string().trim().to_owned())?;
    Ok(profiles.remove(&Profile::Default).unwrap_or_default())
}

/// A figment layer with the name that errors show as the source.
struct Layer {
    name: String,
    dict: Dict,
}

impl Layer {
    fn new(name: &str, dict: Dict) -> Self {
        Self { name: name.to_owned(), dict }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Keys as they are written: `cert_ttl`, `temporal.DB`.
pub(super) fn known_keys() -> Vec<String> {
    let mut keys = Vec::new();
    for (key, value) in parse(DEFAULTS).unwrap_or_default() {
        match value {
            Value::Dict(_, table) => keys.extend(table.keys().map(|inner| format!("{key}.{inner}"))),
            _ => keys.push(key),
        }
    }
    keys
}

fn only_known(dict: Dict, known: &[String], path: &str, errors: &mut Vec<String>) -> Dict {
    let mut kept = Dict::new();
    let mut keep = |key: &str, wanted: bool| {
        if !wanted {
            errors.push(format!("{path}: unknown key {key}{}", suggestion(key, known.iter().map(String::as_str))));
        }
        wanted
    };
    for (key, value) in dict {
        match value {
            Value::Dict(tag, table) if key == OFFICIAL_TABLE => {
                let of = |inner: &str| format!("{OFFICIAL_TABLE}.{inner}");
                let table = table.into_iter().filter(|(inner, _)| keep(&of(inner), known.contains(&of(inner))));
                kept.insert(key, Value::Dict(tag, table.collect()));
            }
            value if keep(&key, known.contains(&key)) => drop(kept.insert(key, value)),
            _ => {}
        }
    }
    kept
}

fn from_environment(environment: &BTreeMap<String, String>, known: &[String], errors: &mut Vec<String>) -> Dict {
    let mut dict = Dict::new();
    let mut table = Dict::new();
    let names: Vec<String> = known.iter().map(|key| variable(key)).collect();
    for (name, value) in environment {
        if name == CONFIG_FILE_VARIABLE {
            continue;
        }
        let key = name.strip_prefix("WARDEN_").map(str::to_ascii_lowercase);
        match key {
            Some(key) if names.contains(name) => drop(dict.insert(key, Value::from(value.as_str()))),
            Some(_) => {
                let names = names.iter().map(String::as_str).chain([CONFIG_FILE_VARIABLE]);
                errors.push(format!("{name} (environment): unknown name{}", suggestion(name, names)));
            }
            None if names.contains(name) => drop(table.insert(name.clone(), Value::from(value.as_str()))),
            None => {}
        }
    }
    if !table.is_empty() {
        dict.insert(OFFICIAL_TABLE.to_owned(), Value::from(table));
    }
    dict
}

/// The variable of a key: `cert_ttl` → `WARDEN_CERT_TTL`, `temporal.DB` → `DB`.
pub(super) fn variable(key: &str) -> String {
    match key.strip_prefix("temporal.") {
        Some(official) => official.to_owned(),
        None => format!("WARDEN_{}", key.to_ascii_uppercase()),
    }
}

/// `; did you mean X?` when a known name is near, else how to get rid of the unknown one.
fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|k| (strsim::damerau_levenshtein(name, k), k)).min();
    match near {
        Some((distance, near)) if distance <= 2 + name.len() / 6 => format!("; did you mean {near}?"),
        _ => "; remove it, or see `docs/configuration.md` for the names there are".to_owned(),
    }
}

/// The merged layers as `{key: {name, text, source}}`.
fn settings(figment: &Figment, errors: &mut Vec<String>) -> serde_json::Value {
    let mut root = serde_json::Map::new();
    for key in known_keys() {
        let Ok(value) = figment.find_value(&key) else { continue };
        let source = figment.get_metadata(value.tag()).map_or("default", |m| &m.name).to_owned();
        let name = variable(&key);
        let text = text(&value).unwrap_or_else(|| {
            errors.push(format!("{name} ({source}): must be text, a number, true or false, or a list of text"));
            String::new()
        });
        let mut setting = Setting { name, text, source };
        if !setting.is_secret() {
            setting.text = setting.text.trim().to_owned();
        }
        let setting = serde_json::json!(setting);
        match key.split_once('.') {
            None => drop(root.insert(key, setting)),
            Some((table, inner)) => {
                let table = root.entry(table).or_insert_with(|| serde_json::json!({}));
                table[inner] = setting;
            }
        }
    }
    root.into()
}

/// A scalar as its text, a list of them joined by commas.
fn text(value: &Value) -> Option<String> {
    if let Some(items) = value.as_array() {
        return items.iter().map(text).collect::<Option<Vec<_>>>().map(|v| v.join(","));
    }
    value
        .as_str()
        .map(str::to_owned)
        .or_else(|| value.to_bool().map(|b| b.to_string()))
        .or_else(|| value.to_i128().map(|n| n.to_string()))
        .or_else(|| value.to_u128().map(|n| n.to_string()))
        .or_else(|| value.to_f64().map(|n| n.to_string()))
}

/// Where a key's setting is.
fn pointer(key: &str) -> String {
    format!("/{}", key.replace('.', "/"))
}

fn setting(settings: &serde_json::Value, key: &str) -> Option<Setting> {
    serde_json::from_value(settings.pointer(&pointer(key))?.clone()).ok()
}

fn rows(settings: &serde_json::Value) -> Vec<Row> {
    let all = known_keys().into_iter().filter_map(|key| setting(settings, &key));
    all.map(|s| Row { value: s.public(), name: s.name, source: s.source }).collect()
}
