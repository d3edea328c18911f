//! Temporal's dynamic configuration: the user's file plus what the warden needs.

/// A file the warden cannot add to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "WARDEN_DYNAMIC_CONFIG_FILE: the file is written in braces, the warden can add to it only when each key begins a \
     line; write it in block style"
)]
pub struct FlowStyle;

/// Key and YAML value of each setting the warden needs.
const NEEDED: &[(&str, &str, &str)] =
    &[("frontend.enablePrincipalPropagation", "true", "every history event names the caller's token subject")];

/// The file's text: the user's, with what it does not set itself.
pub fn render(user: Option<&str>) -> Result<String, FlowStyle> {
    let user = user.map(str::trim_end).unwrap_or_default();
    let content = user.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#') && *l != "---");
    let mut text = match content {
        Some("{}") | None => String::new(),
        Some(line) if line.starts_with('{') => return Err(FlowStyle),
        Some(_) => format!("{user}\n"),
    };
    for (key, value, why) in NEEDED.iter().filter(|(key, ..)| !sets(user, key)) {
        text.push_str(&format!("# temporal-warden: {why}\n{key}:\n  - value: {value}\n"));
    }
    Ok(text)
}

/// Whether a top-level line sets `key`; Temporal compares keys without case.
fn sets(text: &str, key: &str) -> bool {
    let name = |line: &str| Some(line.split_once(':')?.0.trim().trim_matches(['"', '\'']).to_ascii_lowercase());
    let wanted = key.to_ascii_lowercase();
    text.lines().filter(|l| !l.starts_with([' ', '\t', '#', '-'])).filter_map(name).any(|n| n == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_the_principal_is_propagated() {
        let text = render(None).expect("nothing to merge");
        assert!(text.contains("frontend.enablePrincipalPropagation:\n  - value: true\n"));
    }

    #[test]
    fn the_users_keys_stay_and_win() {
        let user = "limit.maxIDLength:\n  - value: 255\n\"Frontend.EnablePrincipalPropagation\":\n  - value: false";
        assert_eq!(render(Some(user)), Ok(format!("{user}\n")));
        let kept = render(Some("limit.maxIDLength:\n  - value: 255")).expect("block style");
        assert!(kept.starts_with("limit.maxIDLength:\n  - value: 255\n#") && kept.contains("value: true"));
    }

    #[test]
    fn an_empty_map_is_replaced_and_flow_style_is_refused() {
        assert!(render(Some("# nothing\n{}\n")).is_ok_and(|t| !t.contains("{}")));
        assert_eq!(render(Some("{a: [{value: 1}]}")), Err(FlowStyle));
    }
}
