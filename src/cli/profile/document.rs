//! A file of Temporal's profiles as text (`temporal.toml`, format of go.temporal.io/sdk/contrib/envconfig): one profile
//! is set, every other byte stays.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, value};

/// What the warden knows of a profile.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) address: &'a str,
    pub(super) namespace: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) server_name: &'a str,
    pub(super) tls: Tls<'a>,
}

/// How it connects.
#[derive(Debug)]
pub(super) enum Tls<'a> {
    Off,
    Paths(&'a Path),
    Contents { trust: &'a str, chain: &'a str, key: &'a str },
}

/// Whether `text` is a file of profiles.
pub(super) fn check(text: &str) -> Result<(), String> {
    profiles(&mut parsed(text)?).map(drop)
}

/// `text` with the profile `name` as `entry` has it. Of a profile that is there what the warden does not know (a codec)
/// stays, but no second token.
pub(super) fn put(text: &str, name: &str, entry: &Entry<'_>) -> Result<String, String> {
    let mut document = parsed(text)?;
    let slot = profiles(&mut document)?.entry(name).or_insert_with(|| Item::Table(Table::new()));
    let profile =
        slot.as_table_mut().ok_or_else(|| format!("profile.{name} is no table; write it as [profile.{name}]"))?;
    profile["address"] = value(entry.address);
    profile["namespace"] = value(entry.namespace);
    match entry.token {
        Some(token) => profile["api_key"] = value(token),
        None => drop(profile.remove("api_key")),
    }
    if let Some(meta) = profile.get_mut("grpc_meta").and_then(Item::as_table_like_mut) {
        // It would win over api_key.
        meta.remove("authorization");
    }
    profile["tls"] = Item::Table(tls(entry));
    Ok(document.to_string())
}

fn tls(entry: &Entry<'_>) -> Table {
    let mut tls = Table::new();
    match entry.tls {
        Tls::Off => tls["disabled"] = value(true),
        Tls::Paths(folder) => {
            let path = |name: &str| value(folder.join(name).to_string_lossy().into_owned());
            tls["client_cert_path"] = path("temporal-client.crt");
            tls["client_key_path"] = path("temporal-client.key");
            tls["server_ca_cert_path"] = path("ca.crt");
        }
        Tls::Contents { trust, chain, key } => {
            tls["client_cert_data"] = value(chain);
            tls["client_key_data"] = value(key);
            tls["server_ca_cert_data"] = value(trust);
        }
    }
    if !matches!(entry.tls, Tls::Off) {
        tls["server_name"] = value(entry.server_name);
    }
    tls
}

fn parsed(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|e| format!("is no TOML: {}; correct it, or name another with --profile-file", one_line(&e)))
}

/// The table `profile`, which is never written by itself.
fn profiles(document: &mut DocumentMut) -> Result<&mut Table, String> {
    let slot = document.entry("profile").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let wrong = "\"profile\" is no table; Temporal's files of profiles have [profile.NAME]";
    slot.as_table_mut().ok_or_else(|| wrong.to_owned())
}

/// The parser draws the line and points at it.
fn one_line(error: &toml_edit::TomlError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(token: Option<&'a str>, tls: Tls<'a>) -> Entry<'a> {
        Entry { address: "127.0.0.1:7233", namespace: "orders", token, server_name: "temporal-server", tls }
    }

    #[test]
    fn a_first_profile_is_what_the_cli_reads() {
        let text = put("", "alice", &entry(Some("a.b.c"), Tls::Paths(Path::new("/c")))).unwrap();
        let expected = "[profile.alice]\naddress = \"127.0.0.1:7233\"\nnamespace = \"orders\"\napi_key = \"a.b.c\"\n\n\
            [profile.alice.tls]\nclient_cert_path = \"/c/temporal-client.crt\"\nclient_key_path = \"/c/temporal-client.key\"\n\
            server_ca_cert_path = \"/c/ca.crt\"\nserver_name = \"temporal-server\"\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn other_profiles_and_comments_stay_byte_for_byte() {
        let before =
            "# mine\n[profile.default]   # local\naddress='localhost:7233'\n[profile.cloud.tls]\nserver_name = \"x\"\n";
        let text = put(before, "alice", &entry(Some("t"), Tls::Off)).unwrap();
        assert!(text.starts_with(before), "{text}");
        assert!(text.contains("[profile.alice.tls]\ndisabled = true"), "{text}");
    }

    #[test]
    fn the_same_profile_again_gets_the_new_token_and_keeps_its_codec() {
        let before = "[profile.alice]\napi_key = \"old\"\naddress = \"h:1\"\n[profile.alice.codec]\nendpoint = \"http://c\"\n\
            [profile.alice.grpc_meta]\nauthorization = \"Bearer old\"\nx-team = \"a\"\n[profile.alice.tls]\nclient_cert_path = \"/old\"\n";
        let contents = Tls::Contents { trust: "CA\n", chain: "CHAIN\n", key: "KEY\n" };
        let text = put(before, "alice", &entry(Some("new"), contents)).unwrap();
        assert!(!text.contains("old"), "{text}");
        assert!(text.contains("http://c") && text.contains("x-team") && text.contains("KEY"), "{text}");
        assert_eq!(text.matches("[profile.alice]").count(), 1, "{text}");
        let open = put(&text, "alice", &entry(None, Tls::Off)).unwrap();
        assert!(!open.contains("api_key") && !open.contains("KEY"), "{open}");
    }

    #[test]
    fn what_is_no_file_of_profiles_is_refused_in_one_line() {
        for (text, word) in [("[profile", "is no TOML"), ("profile = 1", "no table"), ("[[profile]]\n", "no table")] {
            let why = check(text).unwrap_err();
            assert!(why.contains(word) && !why.contains('\n'), "{why}");
        }
        assert!(put("[profile]\nalice = 1\n", "alice", &entry(None, Tls::Off)).is_err());
    }

    #[test]
    fn a_name_that_is_no_bare_key_is_quoted() {
        let text = put("", "alice at work", &entry(None, Tls::Off)).unwrap();
        assert!(text.contains("[profile.\"alice at work\"]"), "{text}");
    }
}
