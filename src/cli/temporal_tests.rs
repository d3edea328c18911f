//! The translation, without running anything.

use super::*;

fn run(line: &str) -> Result<Plan, Usage> {
    plan(line.split_whitespace().map(OsString::from))
}

fn args(line: &str) -> String {
    let args = run(line).unwrap_or_else(|e| panic!("{line}: {e}")).args;
    args.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[test]
fn without_the_guides_flags_nothing_changes() {
    for line in ["", "--help", "workflow list -o json", "completion bash", "__complete workflow li", "help workflow"] {
        assert_eq!(run(line).map(|p| p.token_file), Ok(None));
        assert_eq!(args(line), line);
    }
}

#[test]
fn the_guides_flags_are_taken_out_wherever_they_stand() {
    let wanted = "workflow list --address temporal:7233";
    for line in [
        "workflow list --address temporal:7233 --auth-plugin jwt --auth-token-file /t",
        "--auth-token-file=/t workflow --auth-plugin=jwt list --address temporal:7233",
        "workflow --auth-token-file /t list --address temporal:7233",
    ] {
        assert_eq!(args(line), wanted, "{line}");
        assert_eq!(run(line).map(|p| p.token_file), Ok(Some("/t".into())));
    }
}

#[test]
fn a_value_that_looks_like_our_flag_stays_where_it_is() {
    for line in ["workflow start --input --auth-plugin", "foo -- --auth-plugin jwt", "workflow start -i --auth-plugin"]
    {
        assert_eq!(args(line), line);
    }
}

#[test]
fn incomplete_or_contradicting_flags_are_refused() {
    assert_eq!(run("workflow list --auth-plugin jwt"), Err(Usage::NoToken));
    assert_eq!(run("workflow list --auth-plugin oidc --auth-token-file /t"), Err(Usage::Plugin("oidc".into())));
    assert_eq!(run("workflow list --auth-token-file"), Err(Usage::NoValue("--auth-token-file")));
    assert_eq!(run("workflow list --auth-token-file="), Err(Usage::NoValue("--auth-token-file")));
    assert_eq!(run("--auth-token-file /t --auth-token-file /u"), Err(Usage::TwoTokens));
    assert_eq!(run("a --auth-token-file /t --api-key k"), Err(Usage::Conflict("--api-key")));
    let header = Err(Usage::Conflict("--grpc-meta authorization="));
    assert_eq!(run("a --auth-token-file /t --grpc-meta x=1,Authorization=Bearer"), header);
    assert_eq!(run("a --auth-token-file /t --grpc-meta=authorization=Bearer"), header);
    assert!(run("a --auth-token-file /t --grpc-meta x=authorization").is_ok());
}

#[test]
fn namespace_create_becomes_the_operators_command() {
    let line = "namespace create my-namespace --address temporal:7233 --auth-token-file /t";
    assert_eq!(args(line), "operator namespace create -n my-namespace --address temporal:7233");
    assert_eq!(args("--address a:1 namespace create x"), "--address a:1 operator namespace create -n x");
    assert_eq!(args("namespace create --namespace x"), "operator namespace create --namespace x");
    assert_eq!(args("operator namespace create -n x"), "operator namespace create -n x");
    assert_eq!(args("namespace list"), "namespace list");
    assert_eq!(run("namespace create x -n y"), Err(Usage::TwoNames("x".into())));
}

#[test]
fn a_completion_drops_our_flags_but_leaves_the_unfinished_word() {
    assert_eq!(args("__complete workflow --auth-token-file /t li"), "__complete workflow li");
    assert_eq!(args("__complete workflow --auth-token-file"), "__complete workflow --auth-token-file");
    assert_eq!(run("__complete workflow --auth-token-file /t li").map(|p| p.token_file), Ok(None));
}

#[test]
fn the_token_is_an_argument_only_when_the_environment_is_disabled() {
    assert!(!run("workflow list --auth-token-file /t").is_ok_and(|p| p.token_in_args));
    assert!(run("workflow list --disable-config-env --auth-token-file /t").is_ok_and(|p| p.token_in_args));
}

#[test]
fn with_tls_off_the_presets_go_and_a_token_does_not_turn_tls_on() {
    let plan = run("workflow list --auth-token-file /t").expect("valid");
    let (removed, set) = environment_changes(&plan, true);
    assert!(PRESET_TLS.iter().all(|p| removed.contains(p)));
    assert_eq!(set, [("TEMPORAL_TLS", "false")]);
    let explicit = run("workflow list --tls-ca-path /ca").expect("valid");
    assert!(environment_changes(&explicit, true).1.is_empty());
    assert_eq!(environment_changes(&explicit, false), (vec![], vec![]));
}

#[test]
fn a_token_file_must_hold_exactly_one_token() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("t");
    let read = |content: &str| {
        fs::write(&path, content).expect("writable");
        token(path.clone()).map(|t| t.expose().clone()).map_err(|e| e.to_string())
    };
    assert_eq!(read("a.b.c\n"), Ok("a.b.c".to_owned()));
    assert!(read(" \n").is_err_and(|e| e.contains("is empty")));
    assert!(read("a.b.c\nd.e.f\n").is_err_and(|e| e.contains("more than one line")));
    let none = token(dir.path().join("none")).unwrap_err().to_string();
    assert!(none.contains("No such file") && none.ends_with("; give a token file you may read"), "{none}");
    assert!(
        read("a.bö.c").is_err_and(|e| e.ends_with("the file is no token; it must hold one token and nothing else"))
    );
}

proptest::proptest! {
    #[test]
    fn a_command_line_without_our_forms_reaches_the_cli_as_it_is(
        line in proptest::collection::vec("[a-z]{1,6}|--?[a-z=-]{0,8}|--(type|input|tls|api-key)|-[nwt]", 0..8)
    ) {
        proptest::prop_assume!(!line.iter().any(|w| w.contains("auth-") || w == "namespace"));
        let args: Vec<OsString> = line.iter().map(OsString::from).collect();
        proptest::prop_assert_eq!(plan(args.clone()).map(|p| p.args), Ok(args));
    }
}

#[test]
fn a_refusal_names_the_flag_and_what_to_give_instead() {
    for (line, why) in [
        ("workflow list --auth-token-file", "flag needs an argument: --auth-token-file"),
        ("workflow list --auth-plugin oidc", "--auth-plugin \"oidc\" is not known; the only one is jwt"),
        ("workflow list --auth-plugin jwt", "--auth-plugin needs --auth-token-file FILE as well"),
        ("--auth-token-file /t --auth-token-file /u", "--auth-token-file is given more than once"),
        (
            "a --auth-token-file /t --api-key k",
            "--auth-token-file and --api-key both give an authorization; keep one of them",
        ),
        ("namespace create x -n y", "namespace create: give the name once, as \"x\" or with --namespace"),
    ] {
        assert_eq!(run(line).unwrap_err().to_string(), why);
    }
}
