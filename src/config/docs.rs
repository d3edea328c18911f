//! `docs/configuration.md`, made from `default.toml`.

use super::load::{DEFAULTS, variable};

/// The page: a table per `## ` heading of `default.toml`.
pub fn page() -> String {
    let mut page = String::from(
        "# Configuration\n\n<!-- Made from src/config/default.toml; `UPDATE=1 cargo test --test config_page` writes it again. -->\n\n",
    );
    let mut meaning = String::new();
    let mut table = "";
    for line in DEFAULTS.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            flush(&mut page, &mut meaning);
            page.push_str(&format!("## {heading}\n\n| Variable | Default | Meaning |\n|---|---|---|\n"));
        } else if let Some(text) = line.strip_prefix("# ") {
            meaning.push_str(if meaning.is_empty() { "" } else { " " });
            meaning.push_str(text);
        } else if line.starts_with('[') {
            table = "temporal.";
        } else if let Some((key, value)) = line.split_once(" = ") {
            let value = value.trim_matches('"');
            let value = if value.is_empty() { String::new() } else { format!("`{value}`") };
            page.push_str(&format!(
                "| `{}` | {value} | {} |\n",
                variable(&format!("{table}{key}")),
                meaning.replace('|', "\\|")
            ));
            meaning.clear();
        } else if line.is_empty() {
            flush(&mut page, &mut meaning);
            if page.ends_with("|\n") && !page.ends_with("|---|---|---|\n") {
                page.push('\n');
            }
        }
    }
    page.push_str("\n`WARDEN_CONFIG_FILE` names another file than `/etc/temporal/warden.toml`.\n");
    page
}

/// A comment that stands before no key is a paragraph.
fn flush(page: &mut String, meaning: &mut String) {
    if !meaning.is_empty() {
        page.push_str(meaning);
        page.push_str("\n\n");
        meaning.clear();
    }
}
