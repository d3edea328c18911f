//! A grpc-go client before the gateway and a grpc-go backend behind it: what both see is what they see without it.
//!
//! The program in `tests/grpc` is both; it is built with the Go of the machine, and without one these tests say so and pass.

#[path = "gateway/mod.rs"]
mod gateway;
#[path = "grpc/mod.rs"]
mod grpc;

use std::time::Duration;

use gateway::{Gateway, Options, certs::Client};
use grpc::{Ends, GoBackend};
use temporal_warden::gateway::link::Hello;
use tokio::time::sleep;

/// The gateway before a grpc-go backend with these flags; `None` without Go.
async fn scene(flags: &[&str]) -> Option<(Gateway, GoBackend, Ends)> {
    scene_of(flags, Options::default()).await
}

async fn scene_of(flags: &[&str], options: Options) -> Option<(Gateway, GoBackend, Ends)> {
    let backend = GoBackend::start(flags)?;
    let mut gateway = Gateway::with(Options { upstream: Some(backend.address.clone()), ..options }).await;
    gateway.health(|health| health.serving).await;
    let ends = Ends::new(&gateway, &backend.address);
    Some((gateway, backend, ends))
}

#[tokio::test]
async fn a_client_sees_the_same_through_the_gateway_as_without_it() {
    let Some((_gateway, _backend, ends)) = scene(&[]).await else { return };
    let said = ends.run(&["cases"]).await.unwrap_or_else(|said| panic!("{said}"));
    eprintln!("{said}");
    assert!(said.lines().filter(|line| line.starts_with("same: ")).count() > 40, "{said}");
}

#[tokio::test]
async fn two_thousand_parked_calls_on_one_connection_hold_no_other_call_up() {
    let Some((gateway, _backend, ends)) = scene(&[]).await else { return };
    let before = gateway.resident_kib();
    let said = ends.run(&["polls", "-count", "2000"]).await.unwrap_or_else(|said| panic!("{said}"));
    eprintln!("{said}, memory {} -> {} KiB", before, gateway.resident_kib());
}

#[tokio::test]
async fn connections_that_the_backend_ends_by_age_cost_no_call() {
    let Some((_gateway, backend, ends)) = scene(&["-age", "1s", "-grace", "5s"]).await else { return };
    let report = ends.load(&backend.ids, &["-rate", "300", "-seconds", "8", "-sleep", "30"]).await;
    assert_eq!((report["OK"].as_u64(), report["Twice"].as_u64()), (Some(2400), Some(0)), "{report}");
}

#[tokio::test]
async fn a_killed_backend_costs_only_calls_in_flight_and_none_is_sent_twice() {
    let options =
        Options { hello: Hello { upstream_wait_ms: 10_000, ..Options::default().hello }, ..Options::default() };
    let Some((_gateway, mut backend, ends)) = scene_of(&[], options).await else { return };
    let load = ["-rate", "200", "-seconds", "6", "-sleep", "20"];
    let ids = backend.ids.clone();
    let (report, ()) = tokio::join!(ends.load(&ids, &load), async {
        for _ in 0..2 {
            sleep(Duration::from_millis(1500)).await;
            backend.kill();
            sleep(Duration::from_millis(700)).await;
            backend.again();
        }
    });
    let lost = 1200 - report["OK"].as_u64().unwrap();
    // 200 calls a second of 20 ms: some four are at the backend at the moment of a kill, more on a slow machine.
    assert!(lost <= 80, "{report}");
    assert_eq!((&report["Twice"], &report["OKButAbsent"]), (&0.into(), &0.into()), "{report}");
    let unavailable = |text: &String| text.starts_with("Unavailable");
    assert!(report["Failed"].as_object().unwrap().keys().all(unavailable), "{report}");
}

#[tokio::test]
async fn a_revoked_certificate_costs_a_client_that_has_its_successor_no_call() {
    let Some((mut gateway, backend, ends)) = scene(&[]).await else { return };
    let client = |serial| Client { serial, ..Client::default() };
    ends.certify(&gateway, client(0xdead_0000));
    let load = ["-rate", "1500", "-seconds", "5", "-connections", "8"];
    let (report, ()) = tokio::join!(ends.load(&backend.ids, &load), async {
        let mut material = gateway.next_version();
        for number in 0xdead_0000..0xdead_0008 {
            sleep(Duration::from_millis(500)).await;
            ends.certify(&gateway, client(number + 1));
            material.auth.revocations.serials.insert(format!("{number:x}"));
            gateway.switch(material.clone()).await.unwrap();
            material.version += 1;
        }
    });
    assert_eq!((report["OK"].as_u64(), report["Twice"].as_u64()), (Some(7500), Some(0)), "{report}");
    gateway.drain().await;
    let refused = gateway.records().into_iter().filter(|record| record["decision"] == "deny").count();
    eprintln!("{refused} calls were refused and sent again");
}

#[tokio::test]
async fn requests_that_nobody_reads_hold_no_other_client_up() {
    // One worker: both clients' calls share its connections to the backend.
    let options = Options { hello: Hello { threads: 1, ..Options::default().hello }, ..Options::default() };
    let Some((gateway, _backend, ends)) = scene_of(&[], options).await else { return };
    let before = gateway.resident_kib();
    let said = ends.run(&["uploads"]).await.unwrap_or_else(|said| panic!("{said}"));
    let grown = gateway.resident_kib().saturating_sub(before);
    eprintln!("{said}, memory {grown} KiB more");
    assert!(grown < 96 << 10, "200 requests of 1 MiB that nobody reads cost {grown} KiB");
}
