//! Who connects by which certificate: a small table for PID 1, from which it is known who still holds old material and
//! whether a CA is still needed. It is touched once at each end of a connection, never by a call.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{identity::Identity, link::Client};
use crate::clock;

/// Most rows. Beyond them the one that was away longest makes room; while all are here a newcomer is not noted.
pub(super) const MOST: usize = 256;

type Key = (String, IpAddr);

/// The table: a row per certificate and address.
#[derive(Debug, Default)]
pub(super) struct Clients {
    rows: Mutex<HashMap<Key, Client>>,
    changed: AtomicBool,
}

/// One open connection of a row; over when dropped.
pub(super) struct Visit {
    clients: Arc<Clients>,
    key: Key,
}

impl Clients {
    /// A connection by `identity` is open from now on; `None` when there is no room for its row.
    pub(super) fn enter(self: &Arc<Self>, identity: &Identity, address: IpAddr) -> Option<Visit> {
        let key = (identity.sha256.clone(), address.to_canonical());
        let mut rows = self.rows();
        if rows.len() >= MOST && !rows.contains_key(&key) {
            let away = rows.iter().filter(|(_, row)| row.open == 0).min_by_key(|(_, row)| row.seen_ms);
            let gone = away.map(|(key, _)| key.clone())?;
            rows.remove(&gone);
        }
        let row = rows.entry(key.clone()).or_insert_with(|| Client {
            sha256: identity.sha256.clone(),
            serial: identity.serial.clone(),
            subject: identity.subject.clone(),
            issuer: identity.issuer.clone(),
            address: key.1,
            open: 0,
            seen_ms: 0,
        });
        row.open += 1;
        row.seen_ms = now_ms();
        self.changed.store(true, Relaxed);
        drop(rows);
        Some(Visit { clients: self.clone(), key })
    }

    /// Every row, if anything changed since this was last asked.
    pub(super) fn news(&self) -> Option<Vec<Client>> {
        self.changed.swap(false, Relaxed).then(|| self.rows().values().cloned().collect())
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Key, Client>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(row) = self.clients.rows().get_mut(&self.key) {
            row.open = row.open.saturating_sub(1);
            row.seen_ms = now_ms();
            self.clients.changed.store(true, Relaxed);
        }
    }
}

fn now_ms() -> i64 {
    clock::ms(clock::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(sha256: &str) -> Identity {
        Identity {
            subject: "CN=temporal-client".to_owned(),
            issuer: "CN=ca".to_owned(),
            serial: "1".to_owned(),
            sha256: sha256.to_owned(),
            proof: crate::tokens::Confirmation::exactly(String::new()),
            chain: Vec::new(),
        }
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_row_counts_its_open_connections_and_outlives_them() {
        let clients = Arc::new(Clients::default());
        assert_eq!(clients.news(), None);
        let visits = [clients.enter(&identity("a"), HERE), clients.enter(&identity("a"), HERE)];
        let open = |clients: &Clients| clients.news().unwrap().iter().map(|row| row.open).collect::<Vec<_>>();
        assert_eq!(open(&clients), [2]);
        assert_eq!(clients.news(), None, "nothing new");
        drop(visits);
        let rows = clients.news().unwrap();
        assert!(rows.len() == 1 && rows[0].open == 0 && rows[0].seen_ms > 0, "{rows:?}");
    }

    #[test]
    fn the_table_is_bounded_and_who_is_here_is_never_thrown_out() {
        let clients = Arc::new(Clients::default());
        let here = clients.enter(&identity("here"), HERE).unwrap();
        (0..10 * MOST).for_each(|n| drop(clients.enter(&identity(&n.to_string()), HERE)));
        let rows = clients.news().unwrap();
        assert!(rows.len() == MOST && rows.iter().any(|row| row.sha256 == "here"));
        let full: Vec<_> = (0..MOST).map(|n| clients.enter(&identity(&format!("x{n}")), HERE)).collect();
        assert_eq!(full.iter().filter(|visit| visit.is_some()).count(), MOST - 1);
        drop((here, full));
        assert!(clients.enter(&identity("later"), HERE).is_some());
    }
}
