//! Transcripts of the pages that need no stack: the real program on a folder of certificates as the production stack has it.

mod pages;
#[path = "warden_scene/place.rs"]
mod place;

use std::process::Command;

use tempfile::TempDir;

const CERTS: &str = "/etc/temporal/certs";
const INSIDE: &str = "docker exec app_data_temporal_server ";

/// The settings of docker-compose.prod.yml, after a first start.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        assert!(scene.command().arg("init").status().unwrap().success());
        scene
    }

    fn command(&self) -> Command {
        let mut command = place::command(self.0.path(), 0);
        command.envs([("DB", "postgres12"), ("POSTGRES_SEEDS", "postgres"), ("POSTGRES_USER", "temporal")]);
        command.env("WARDEN_POLICY_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/temporal/policy.toml"));
        command
    }

    /// What `line` prints, as it would in the container.
    fn prints(&self, line: &str) -> String {
        let here = self.0.path().join("certs").display().to_string();
        let arguments = line.strip_prefix("temporal-warden ").unwrap().replace(CERTS, &here);
        let output = self.command().args(arguments.split(' ')).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap().replace(&here, CERTS)
    }
}

#[test]
fn what_there_is_and_how_long_it_lives() {
    let printed = Scene::new().prints("temporal-warden cert list");
    pages::transcript_but_for_what_varies("cert-list", &format!("{INSIDE}temporal-warden cert list"), &printed);
}

#[test]
fn what_a_token_says_and_may_do() {
    let line = format!("temporal-warden token inspect {CERTS}/client-token.jwt --can RegisterNamespace");
    let printed = Scene::new().prints(&line);
    pages::transcript_but_for_what_varies("token-inspect", &format!("{INSIDE}{line}"), &printed);
}

#[test]
fn a_further_client() {
    let scene = Scene::new();
    let shown = "temporal-warden cert issue --name billing --scope temporal-client --namespace orders --ttl 30d --out /tmp/billing";
    let folder = scene.0.path().join("billing").display().to_string();
    let printed = scene.prints(&shown.replace("/tmp/billing", &folder)).replace(&folder, "/tmp/billing");
    pages::transcript_but_for_what_varies("cert-issue", &format!("{INSIDE}{shown}"), &printed);
}
