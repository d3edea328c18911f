//! A proxy that answers by name only: nothing may be listed or looked at, and still everybody is told, once.

mod audit_scene;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use audit_scene::Warden;

/// What was asked of Docker, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// Docker behind a proxy that lets restarts and signals through and nothing else.
fn docker() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let heard = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let heard = heard.clone();
            std::thread::spawn(move || answer(stream, &heard));
        }
    });
    (host, asked)
}

fn answer(mut stream: TcpStream, heard: &Asked) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
    let request = first.trim_end_matches(" HTTP/1.1").to_owned();
    let status = if request.starts_with("POST ") { "204 No Content" } else { "403 Forbidden" };
    heard.lock().unwrap().push(request);
    let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

fn told(asked: &Asked) -> Vec<String> {
    asked.lock().unwrap().iter().filter(|request| request.starts_with("POST ")).cloned().collect()
}

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
