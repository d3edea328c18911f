//! A set of keys that the real Temporal can't read: it starts, refuses everybody, and says nothing of it but a line in its log.
//! That counts as a start in vain, and after three the last healthy set takes its place.

mod live;

use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use live::Stack;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(240);

impl Stack {
    fn generation(&self) -> String {
        fs::read_link(self.path("certs/..data")).unwrap().to_str().unwrap().to_owned()
    }

    fn serves(&self) -> bool {
        self.warden(&["healthcheck"]).status.success()
    }
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn keys_with_which_temporal_refuses_everybody_are_rolled_back_after_three_starts_and_it_serves_again() {
    // The fourth start has twice the time: five failures within a minute, the start limit, there can not be.
    let mut stack = Stack::with(&[("WARDEN_ENGINE_START_TIMEOUT", "10s"), ("WARDEN_NAMESPACES", "")]);
    stack.until("it is proven", || stack.path("certs/..healthy").exists());
    let mut warden = stack.warden.take().unwrap();
    kill(Pid::from_raw(warden.id().cast_signed()), Signal::SIGTERM).unwrap();
    warden.wait().unwrap();
    assert_eq!(stack.generation(), "..g0");

    // One more key, with a certificate beside it that is none. Nobody minds but Temporal's library, which then takes no key.
    let own = stack.read("temporal-jwks.json");
    let mut keys: Value = serde_json::from_str(&own).unwrap();
    let mut other = keys["keys"][0].clone();
    (other["kid"], other["x5c"]) = ("somebody's".into(), json!(["AAAA"]));
    keys["keys"].as_array_mut().unwrap().push(other);
    let path = stack.path("certs/temporal-jwks.json");
    fs::remove_file(&path).unwrap();
    fs::write(&path, keys.to_string()).unwrap();

    let log = fs::File::create(stack.path("log")).unwrap();
    let mut command = stack.command();
    command.arg("run").stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log));
    stack.warden = Some(command.spawn().unwrap());
    let began = Instant::now();
    while !stack.serves() {
        assert!(began.elapsed() < LIMIT, "does not serve again:\n{}", stack.log());
        thread::sleep(Duration::from_millis(200));
    }
    let why = "ROLLED BACK: generation 1 is not in force: temporal was started 3 times with it and never healthy (last exit: ";
    assert!(stack.log().contains(why), "{}", stack.log());
    assert!(stack.must(&["status"]).contains(why));
    assert_eq!((stack.generation().as_str(), stack.read("temporal-jwks.json")), ("..g2", own));
}
