//! Without Docker nothing waits for dependents: start, rotation and status are as ever, and one line says so.

mod audit_scene;

use std::{fs, path::Path, time::Duration};

use audit_scene::Warden;

const NOWHERE: (&str, &str) = ("DOCKER_HOST", "unix:///nonexistent/docker.sock");

/// Lines of PID 1's log that speak of dependents or of Docker.
fn said(folder: &Path) -> Vec<String> {
    let log = fs::read_to_string(folder.join("warden.log")).unwrap();
    log.lines().filter(|line| line.contains("dependent") || line.contains("Docker")).map(str::to_owned).collect()
}

fn status(warden: &Warden) -> String {
    String::from_utf8(warden.said(&["status"]).stdout).unwrap()
}

#[tokio::test]
async fn a_rotation_without_docker_completes_and_is_one_line_in_the_log_and_one_in_status() {
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), &[NOWHERE]).await;
    assert!(!status(&warden).contains("dependents"), "{}", status(&warden));
    assert!(warden.said(&["rotate"]).status.success());
    warden.until("status says so", || status(&warden).contains("\ndependents wait: ")).await;
    // Two tries more at the least.
    tokio::time::sleep(Duration::from_secs(18)).await;
    let lines = said(folder.path());
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("unix:///nonexistent/docker.sock"), "{lines:#?}");
    assert_eq!(status(&warden).lines().filter(|line| line.contains("dependents")).count(), 1);

    let listed = warden.said(&["dependent", "list"]);
    let words = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(!listed.status.success() && words.contains("Docker cannot be reached at"), "{words}");
    let doctor = String::from_utf8(warden.said(&["doctor"]).stdout).unwrap();
    assert!(doctor.contains("not everybody was told: Docker cannot be reached"), "{doctor}");
    assert!(!warden.said(&["dependent", "restart"]).status.success());
    assert_eq!(warden.stop().await, Some(0));
    assert!(warden.acts().iter().any(|[method, _, _, reason]| method == "TellDependents" && reason.contains("Docker")));

    warden.run().await;
    warden.until("the next start says so once", || said(folder.path()).len() == 2).await;
    assert_eq!(warden.stop().await, Some(0));
}

#[tokio::test]
async fn a_first_start_without_docker_says_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), &[NOWHERE]).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(said(folder.path()).is_empty(), "{:#?}", said(folder.path()));
    assert_eq!(warden.stop().await, Some(0));
}
