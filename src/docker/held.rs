//! Who holds which material, by what the gateway saw and not by what was done: pure.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::engine::Listed;
use crate::gateway::link::{Client, Served};

/// Name of whoever connects from inside our own container.
const INSIDE: &str = "this container";

/// What somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// The certificate that was replaced, and it has not come with the one in force.
    Before,
    /// Not known.
    Unknown,
    /// It has come with the certificate in force, and has not closed every connection by the one before.
    Both,
    /// The certificate in force.
    Current,
    /// A certificate of another subject than the published ones.
    Own,
}

/// One service and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Container, or address where no container is known to have it.
    pub name: String,
    /// `serves` (PostgreSQL) or `connects`.
    pub does: Does,
    /// What it holds.
    pub holds: Held,
    /// Serial of the certificate this is known from.
    pub serial: Option<String>,
    /// Connections open by such a certificate.
    pub connections: u32,
    /// When it was last seen.
    #[serde(with = "time::serde::rfc3339::option")]
    pub seen: Option<OffsetDateTime>,
    /// Why nothing is known.
    pub detail: Option<String>,
}

/// What somebody does with its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// It is a server.
    Serves,
    /// It is a client of the gateway.
    Connects,
}

/// A CA, and who connects by certificates of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Its subject in words.
    pub authority: String,
    /// `current`, `before` (trusted until it is retired) or `other` (an intermediate of yours).
    pub is: Standing,
    /// Who is connected by it now.
    pub connected: Vec<String>,
    /// When somebody was last, if ever since PID 1 started.
    #[serde(with = "time::serde::rfc3339::option")]
    pub seen: Option<OffsetDateTime>,
}

/// How a CA stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The one that signs.
    Current,
    /// Trusted during an overlap.
    Before,
    /// In no trust bundle of ours.
    Other,
}

/// A client certificate in force: its SHA-256 and its subject.
pub type InForce = (String, String);

/// What each client of the gateway holds. Who is connected counts; of those who are not, the certificate seen last.
pub fn holders(clients: &[Client], in_force: &[InForce], listed: &[Listed]) -> Vec<Holder> {
    let mut by_name: BTreeMap<String, Vec<&Client>> = BTreeMap::new();
    for client in clients {
        by_name.entry(name_of(client.address, listed)).or_default().push(client);
    }
    by_name.into_iter().filter_map(|(name, rows)| holder(name, &rows, in_force)).collect()
}

fn holder(name: String, rows: &[&Client], in_force: &[InForce]) -> Option<Holder> {
    let here = rows.iter().any(|row| row.open > 0);
    let counted: Vec<_> = rows.iter().filter(|row| row.open > 0 || !here).collect();
    let last = counted.iter().max_by_key(|row| row.seen_ms)?;
    let of =
        |held: Held| counted.iter().filter(|row| here && judge(row, in_force) == held).max_by_key(|row| row.seen_ms);
    // Of several the one that was replaced is what matters.
    let row = of(Held::Before).or(of(Held::Current)).unwrap_or(last);
    let holds = match judge(row, in_force) {
        Held::Before if of(Held::Current).is_some() => Held::Both,
        held => held,
    };
    Some(Holder {
        name,
        does: Does::Connects,
        holds,
        serial: Some(row.serial.clone()),
        connections: row.open,
        seen: moment(row.seen_ms),
        detail: None,
    })
}

fn judge(client: &Client, in_force: &[InForce]) -> Held {
    match in_force {
        all if all.iter().any(|(sha256, _)| *sha256 == client.sha256) => Held::Current,
        all if all.iter().any(|(_, subject)| *subject == client.subject) => Held::Before,
        _ => Held::Own,
    }
}

/// What PostgreSQL serves, beside the certificate published for it.
pub fn server(name: String, served: Result<Served, String>, published: &str, now: OffsetDateTime) -> Holder {
    let does = Does::Serves;
    match served {
        Err(why) => {
            Holder { name, does, holds: Held::Unknown, serial: None, connections: 0, seen: None, detail: Some(why) }
        }
        Ok(served) => {
            let holds = if served.sha256 == published { Held::Current } else { Held::Before };
            Holder { name, does, holds, serial: Some(served.serial), connections: 0, seen: Some(now), detail: None }
        }
    }
}

/// Somebody of whom nothing was seen.
pub fn unseen(name: String) -> Holder {
    let detail = Some("has not connected since the warden started".to_owned());
    Holder { name, does: Does::Connects, holds: Held::Unknown, serial: None, connections: 0, seen: None, detail }
}

/// Who connects by which CA; `trusted` are the subjects of the trust bundle, the current one first.
pub fn uses(clients: &[Client], trusted: &[String], listed: &[Listed]) -> Vec<Use> {
    let mut names: Vec<&String> = trusted.iter().collect();
    for client in clients.iter().filter(|client| client.open > 0) {
        if !names.contains(&&client.issuer) {
            names.push(&client.issuer);
        }
    }
    let each = names.into_iter().enumerate().map(|(place, authority)| {
        let of = || clients.iter().filter(|client| client.issuer == *authority);
        let mut connected: Vec<_> = of().filter(|row| row.open > 0).map(|row| name_of(row.address, listed)).collect();
        connected.sort();
        connected.dedup();
        let is = match place {
            0 => Standing::Current,
            _ if trusted.contains(authority) => Standing::Before,
            _ => Standing::Other,
        };
        let seen = of().map(|row| row.seen_ms).max().and_then(moment);
        Use { authority: authority.clone(), is, connected, seen }
    });
    each.collect()
}

fn name_of(address: IpAddr, listed: &[Listed]) -> String {
    let found = listed.iter().find(|container| container.addresses.contains(&address));
    match found {
        Some(container) => container.name.clone(),
        None if address.is_loopback() => INSIDE.to_owned(),
        None => address.to_string(),
    }
}

fn moment(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: [u8; 4] = [10, 0, 0, 2];

    fn client(sha256: &str, subject: &str, address: [u8; 4], open: u32, seen_ms: i64) -> Client {
        Client {
            sha256: sha256.to_owned(),
            serial: format!("serial-{sha256}"),
            subject: subject.to_owned(),
            issuer: if sha256 == "old" { "CN=ca-1" } else { "CN=ca-2" }.to_owned(),
            address: address.into(),
            open,
            seen_ms,
        }
    }

    fn listed() -> Vec<Listed> {
        let (name, state) = ("app".to_owned(), "running".to_owned());
        vec![Listed {
            id: "1".to_owned(),
            name,
            labels: BTreeMap::new(),
            state,
            addresses: vec![APP.into()],
            mounts: Vec::new(),
        }]
    }

    fn held(clients: &[Client]) -> Vec<(String, Held, u32)> {
        let in_force = [("new".to_owned(), "CN=temporal-client".to_owned())];
        let all = holders(clients, &in_force, &listed());
        all.into_iter().map(|holder| (holder.name, holder.holds, holder.connections)).collect()
    }

    #[test]
    fn who_came_with_the_new_certificate_has_it_and_an_old_connection_beside_it_is_said() {
        let (old, new) =
            (client("old", "CN=temporal-client", APP, 1, 1), client("new", "CN=temporal-client", APP, 4, 9));
        assert_eq!(held(std::slice::from_ref(&old)), [("app".to_owned(), Held::Before, 1)]);
        assert_eq!(held(&[old.clone(), new.clone()]), [("app".to_owned(), Held::Both, 1)]);
        // Gone is gone: after its restart only what it connects by now counts.
        assert_eq!(held(&[Client { open: 0, ..old }, new]), [("app".to_owned(), Held::Current, 4)]);
    }

    #[test]
    fn of_those_who_are_away_the_last_certificate_counts() {
        let (old, new) =
            (client("old", "CN=temporal-client", APP, 0, 1), client("new", "CN=temporal-client", APP, 0, 9));
        assert_eq!(held(&[old, new]), [("app".to_owned(), Held::Current, 0)]);
    }

    #[test]
    fn a_certificate_of_another_subject_and_an_unknown_address_are_said_as_they_are() {
        let other = client("x", "CN=billing", [192, 168, 0, 9], 1, 1);
        let inside = client("new", "CN=temporal-client", [127, 0, 0, 1], 1, 1);
        let all = [("192.168.0.9".to_owned(), Held::Own, 1), (INSIDE.to_owned(), Held::Current, 1)];
        assert_eq!(held(&[other, inside]), all);
    }

    #[test]
    fn postgresql_is_judged_by_the_certificate_it_serves() {
        let served = |sha256: &str| {
            Ok(Served { sha256: sha256.to_owned(), serial: "1".to_owned(), issuer: "CN=ca-1".to_owned() })
        };
        let now = OffsetDateTime::UNIX_EPOCH;
        let judged = |served| server("db".to_owned(), served, "new", now).holds;
        assert_eq!([judged(served("new")), judged(served("old"))], [Held::Current, Held::Before]);
        assert_eq!(judged(Err("refused".to_owned())), Held::Unknown);
    }

    #[test]
    fn a_ca_is_used_as_long_as_somebody_is_connected_by_it() {
        let trusted = ["CN=ca-2".to_owned(), "CN=ca-1".to_owned()];
        let rows = [client("old", "CN=temporal-client", APP, 1, 5), client("new", "CN=x", [9, 9, 9, 9], 0, 7)];
        let all = uses(&rows, &trusted, &listed());
        assert_eq!(all.iter().map(|u| u.is).collect::<Vec<_>>(), [Standing::Current, Standing::Before]);
        assert_eq!((all[0].connected.len(), all[0].seen), (0, moment(7)));
        assert_eq!((all[1].connected.as_slice(), all[1].seen), (["app".to_owned()].as_slice(), moment(5)));
    }
}
