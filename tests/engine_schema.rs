//! The schema child against a real PostgreSQL with TLS.

mod engine_support;

use std::time::{Duration, Instant};

use engine_support::{PASSWORD, Pki, Postgres, config, finished, program, schema};
use temporal_warden::{
    secret::Secret,
    temporal::schema::{Job, PostgresJob, job},
};

fn postgres_job(postgres: &Postgres, user: &str, extra: &[(&str, &str)]) -> Option<PostgresJob> {
    let tool = program("TEMPORAL_SQL_TOOL_BIN")?;
    let port = postgres.port.to_string();
    let mut environment = vec![
        ("POSTGRES_SEEDS", "localhost"),
        ("DB_PORT", &port),
        ("POSTGRES_USER", user),
        ("SQL_CA", postgres.ca_file.to_str()?),
        ("WARDEN_TEMPORAL_SQL_TOOL", tool.to_str()?),
    ];
    environment.extend(extra);
    match job(&config(&environment), Some(&Secret::new(PASSWORD.to_owned())))? {
        Job::Postgres(job) => Some(*job),
        _ => None,
    }
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn two_at_once_make_one_schema_and_a_third_changes_nothing() {
    let pki = Pki::new();
    let mut postgres = Postgres::new(&pki).expect("prepared");
    let job = postgres_job(&postgres, "admin", &[]).expect("prepared");
    let job = Job::Postgres(job.into());
    // Both start before the database does.
    let both = [schema(&job), schema(&job)];
    std::thread::sleep(Duration::from_millis(700));
    postgres.start();
    let start = Instant::now();
    let said = both.map(finished);
    eprintln!("two at once: {:?}\n{}\n{}", start.elapsed(), said[0].1, said[1].1);
    for (ok, text) in &said {
        assert!(ok, "{text}");
        assert!(text.starts_with("waiting for PostgreSQL at localhost:"), "{text}");
        assert!(text.contains("schema 4/4 temporal_visibility: "), "{text}");
    }
    let version = "select curr_version from schema_version";
    let before = postgres.sql("temporal", version).stdout;
    assert!(!before.is_empty());
    let start = Instant::now();
    let (ok, text) = finished(schema(&job));
    eprintln!("again: {:?}", start.elapsed());
    assert!(ok, "{text}");
    assert_eq!(postgres.sql("temporal", version).stdout, before);
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn a_role_that_may_not_create_is_told_what_to_run_and_then_succeeds() {
    let pki = Pki::new();
    let mut postgres = Postgres::new(&pki).expect("prepared");
    let job = postgres_job(&postgres, "temporal", &[]).expect("prepared");
    postgres.start();
    postgres.wait();
    let quoted = PASSWORD.replace('\'', "''");
    assert!(postgres.sql("postgres", &format!("create role temporal login password '{quoted}'")).status.success());
    let (ok, text) = finished(schema(&Job::Postgres(job.clone().into())));
    assert!(!ok);
    let wanted = "run as an administrator: CREATE DATABASE \"temporal\" OWNER \"temporal\"; \
                  CREATE DATABASE \"temporal_visibility\" OWNER \"temporal\";";
    assert!(text.contains(wanted), "{text}");
    for name in ["temporal", "temporal_visibility"] {
        let made = postgres.sql("postgres", &format!("create database {name} owner temporal"));
        assert!(made.status.success(), "{made:?}");
    }
    let (ok, text) = finished(schema(&Job::Postgres(job.into())));
    assert!(ok, "{text}");
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn what_waiting_cannot_mend_fails_at_once_and_an_untrusted_server_after_the_wait() {
    let pki = Pki::new();
    let mut postgres = Postgres::new(&pki).expect("prepared");
    let mut job = postgres_job(&postgres, "admin", &[("WARDEN_DATABASE_WAIT", "2s")]).expect("prepared");
    postgres.start();
    postgres.wait();
    let good = job.clone();
    job.password = Some(Secret::new("wrong".to_owned()));
    let (ok, text) = finished(schema(&Job::Postgres(job.into())));
    assert!(!ok && text.contains("correct POSTGRES_PWD") && !text.contains("wrong"), "{text}");

    let mut job = good.clone();
    job.tool = "/bin/false".into();
    let (ok, text) = finished(schema(&Job::Postgres(job.into())));
    assert!(!ok && text.contains("schema step \"") && text.contains("\" failed: "), "{text}");

    let other = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(other.path(), &Pki::new().ca_pem).expect("ca");
    let mut job = good.clone();
    if let Some(tls) = &mut job.tls {
        tls.ca_file = other.path().to_owned();
    }
    let (ok, text) = finished(schema(&Job::Postgres(job.into())));
    assert!(!ok && text.contains("SQL_CA must be the CA") && text.contains("was not ready after"), "{text}");

    // A name that is not in the certificate: refused by default, accepted when only the chain is to be verified.
    let mut job = good;
    job.host = "127.0.0.1".to_owned();
    let (ok, text) = finished(schema(&Job::Postgres(job.clone().into())));
    assert!(!ok && text.contains("not valid for name"), "{text}");
    if let Some(tls) = &mut job.tls {
        tls.verify_host = false;
    }
    let (ok, text) = finished(schema(&Job::Postgres(job.clone().into())));
    assert!(ok, "{text}");
    if let Some(tls) = &mut job.tls {
        tls.ca_file = other.path().to_owned();
    }
    assert!(!finished(schema(&Job::Postgres(job.into()))).0, "the chain must be verified in any case");
}
