//! Which generation is in force, which was healthy, and what the warden says of it.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod reaper;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use temporal_warden::pki::Certificate;

use crate::warden_scene::Scene;

const LIMIT: Duration = Duration::from_secs(90);

pub fn link(scene: &Scene, name: &str) -> Option<String> {
    fs::read_link(scene.path(name)).ok().map(|target| target.to_str().unwrap().to_owned())
}

pub fn generation(scene: &Scene) -> u64 {
    link(scene, "..data").unwrap().strip_prefix("..g").unwrap().parse().unwrap()
}

pub fn log(scene: &Scene) -> String {
    fs::read_to_string(scene.log()).unwrap_or_default()
}

pub fn until(scene: &Scene, what: &str, good: impl Fn() -> bool) {
    let began = Instant::now();
    while !good() {
        assert!(began.elapsed() < LIMIT, "not {what}\n{}", log(scene));
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the log says it: a thread of its own writes it.
pub fn said_in_log(scene: &Scene, text: &str) {
    until(scene, text, || log(scene).contains(text));
}

/// Whether everything is healthy with the generation in force.
pub fn proven(scene: &Scene) -> bool {
    link(scene, "..healthy").is_some_and(|healthy| link(scene, "..data") == Some(healthy))
}

/// The CAs that are trusted.
pub fn authorities(scene: &Scene) -> Vec<String> {
    Certificate::all_from_pem(&scene.read("ca.crt")).unwrap().into_iter().map(|ca| ca.fingerprint).collect()
}

/// A generation that was healthy, one warden long.
pub fn with_a_healthy_one(scene: &Scene) -> u64 {
    let mut warden = scene.warden();
    until(scene, "healthy", || proven(scene));
    warden.kill();
    generation(scene)
}

pub fn is_revoked(scene: &Scene, jti: &str) -> bool {
    scene.revocations()["jti"].as_array().unwrap().iter().any(|revoked| revoked == jti)
}
