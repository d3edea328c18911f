//! A proxy that answers by name only: nothing may be listed or looked at, and still everybody is told, once.

mod audit_scene;
mod docker_scene;

use std::time::Duration;

use audit_scene::Warden;
use docker_scene::{docker, told};

const ALL: [&str; 2] = ["POST /containers/db/kill?signal=SIGHUP", "POST /containers/app/restart"];

#[tokio::test]
async fn by_configured_names_each_is_told_once_in_order_also_across_a_restart_of_the_warden() {
    let (host, asked) = docker();
    let folder = tempfile::tempdir().unwrap();
    let settings = [("DOCKER_HOST", host.as_str()), ("WARDEN_DEPENDENTS", "db=signal:SIGHUP,app")];
    let mut warden = Warden::start(folder.path(), &settings).await;
    assert!(warden.said(&["rotate"]).status.success());
    warden.until("both are told", || told(&asked).len() >= 2).await;
    assert_eq!(told(&asked), ALL);
    assert!(!asked.lock().unwrap().iter().any(|request| request.contains("/containers/json")), "nothing is listed");
    let list = String::from_utf8(warden.said(&["dependent", "list"]).stdout).unwrap();
    assert!(list.contains("it is not known whether it runs") && list.contains("app: restart is not needed"), "{list}");

    assert_eq!(warden.stop().await, Some(0));
    warden.run().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(told(&asked), ALL, "the next process knows who was told");
    assert_eq!(warden.stop().await, Some(0));
}

#[tokio::test]
async fn without_names_a_proxy_that_forbids_listing_is_named_with_both_ways_out() {
    let (host, asked) = docker();
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), &[("DOCKER_HOST", host.as_str())]).await;
    assert!(warden.said(&["rotate"]).status.success());
    let status = || String::from_utf8(warden.said(&["status"]).stdout).unwrap();
    let why = "dependents wait: listing containers is forbidden by what stands before Docker; allow it there";
    warden.until("status says so", || status().contains(why)).await;
    assert!(status().contains("GET containers/json") && status().contains("WARDEN_DEPENDENTS"), "{}", status());
    assert!(told(&asked).is_empty());
    assert_eq!(warden.stop().await, Some(0));
}
