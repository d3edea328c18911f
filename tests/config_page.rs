//! `docs/configuration.md` is what `default.toml` says.

use std::{env, fs, path::Path};

#[test]
fn the_configuration_page_is_made_from_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = temporal_warden::config::page();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).expect("docs/configuration.md is writable");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is stale: run UPDATE=1 cargo test --test config_page");
}
