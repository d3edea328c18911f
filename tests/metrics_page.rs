//! `docs/operations.md` lists every metric there is.

use std::{env, fs, path::Path};

const BEGIN: &str =
    "<!-- Made from src/gateway/metrics/list.rs; `UPDATE=1 cargo test --test metrics_page` writes it again. -->\n\n";
const END: &str = "\n<!-- end -->";

#[test]
fn the_operations_page_lists_every_metric_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(&path).expect("docs/operations.md is there");
    let (before, rest) = page.split_once(BEGIN).expect("the table's first mark");
    let (_, after) = rest.split_once(END).expect("the table's last mark");
    let wanted = [before, BEGIN, &temporal_warden::gateway::metrics::page(), END, after].concat();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &wanted).expect("docs/operations.md is writable");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == wanted, "docs/operations.md is stale: run UPDATE=1 cargo test --test metrics_page");
}
