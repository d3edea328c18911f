//! A shell completes the command line with what `completions` prints.

use std::process::{Command, Output};

const WARDEN: &str = env!("CARGO_BIN_EXE_temporal-warden");

fn completions(shell: &str) -> Output {
    Command::new(WARDEN).args(["completions", shell]).output().unwrap()
}

#[test]
fn bash_offers_sub_commands_and_flags_but_not_the_hidden_ones() {
    let script = String::from_utf8(completions("bash").stdout).unwrap();
    // As bash itself asks: words, and the number of the one under the cursor.
    let offered = |words: &str, at: usize| {
        let ask = format!(
            "{script}\nof=$(complete -p temporal-warden | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
             COMP_WORDS=({words}) COMP_CWORD={at}\n$of temporal-warden '' \"${{COMP_WORDS[{at} - 1]}}\"\necho \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = offered("temporal-warden ''", 1);
    assert!(["status", "cert", "token", "completions"].iter().all(|word| commands.contains(word)), "{commands}");
    let words: Vec<_> = commands.split_whitespace().collect();
    assert!(!words.contains(&"gateway") && !words.contains(&"schema"), "{commands}");
    assert!(offered("temporal-warden token ''", 2).contains("mint"));
}

#[test]
fn other_shells_have_one_too_and_an_unknown_one_is_a_usage_error() {
    for shell in ["zsh", "fish"] {
        let output = completions(shell);
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("healthcheck"), "{shell}");
    }
    let output = completions("tcsh");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("possible values"));
}
