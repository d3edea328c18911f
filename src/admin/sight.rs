//! Who holds what, and who needs which CA, as a person reads it.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::status::short;
use crate::docker::{Does, Held, Holder, Standing, Use};

/// Nothing where nothing is known of anybody.
pub(super) fn render(out: &mut String, holders: &[Holder], authorities: &[Use], now: OffsetDateTime) {
    if !holders.is_empty() {
        let _ = writeln!(out, "\nwho holds what:");
    }
    for holder in holders {
        let _ = writeln!(out, "  {:<26} {}", holder.name, words(holder, now));
    }
    // With one CA there is nothing to decide.
    if authorities.len() > 1 {
        let _ = writeln!(out, "\nwho connects by which CA:");
        authorities.iter().for_each(|authority| {
            let _ = writeln!(out, "  {}", usage(authority, now));
        });
    }
}

fn words(holder: &Holder, now: OffsetDateTime) -> String {
    let serial = holder.serial.as_deref().unwrap_or("unknown");
    let which = match (holder.holds, holder.does) {
        (Held::Unknown, _) => return format!("not known: {}", holder.detail.as_deref().unwrap_or("nothing was seen")),
        (Held::Current, Does::Serves) => return "serves the current certificate".to_owned(),
        (Held::Both, Does::Connects) => {
            let open = holder.connections;
            return format!("holds the current certificate; open by the one before, serial {serial}: {open}");
        }
        (_, Does::Serves) => return format!("STILL SERVES THE ONE BEFORE: serial {serial}"),
        (Held::Current, Does::Connects) => "holds the current certificate".to_owned(),
        // Not an accusation: it may have read its files since.
        (Held::Before, Does::Connects) if holder.connections == 0 => {
            format!("last seen with the one before, serial {serial}")
        }
        (Held::Before, Does::Connects) => format!("STILL HOLDS THE ONE BEFORE: serial {serial}"),
        (Held::Own, Does::Connects) => format!("holds a certificate of its own: serial {serial}"),
    };
    match (holder.connections, holder.seen) {
        (0, Some(at)) if which.starts_with("last seen") => {
            format!("{which} (not connected, {} ago)", short(now - at))
        }
        (0, Some(at)) => format!("{which} (not connected, last seen {} ago)", short(now - at)),
        (1, _) => format!("{which} (1 connection)"),
        (count, _) => format!("{which} ({count} connections)"),
    }
}

fn usage(authority: &Use, now: OffsetDateTime) -> String {
    let Use { authority: name, is, connected, seen } = authority;
    let users = match (connected.is_empty(), seen) {
        (false, _) => connected.join(", "),
        (true, Some(at)) => format!("nobody now, last seen {} ago", short(now - *at)),
        (true, None) => "nobody since the warden started".to_owned(),
    };
    match is {
        Standing::Current => format!("{name} (current): {users}"),
        Standing::Before if connected.is_empty() => format!("{name} (the one before): {users}; see `cert retire`"),
        Standing::Before => format!("{name} (the one before): {users} – `cert retire` would cut them off"),
        Standing::Other => format!("{name} (an intermediate): {users}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn holder(holds: Held, does: Does, connections: u32) -> Holder {
        let seen = Some(NOW - time::Duration::minutes(3));
        let serial = Some("1f".to_owned());
        Holder { name: "app".to_owned(), does, holds, serial, connections, seen, detail: None }
    }

    #[test]
    fn who_is_behind_is_said_loudly_and_with_the_serial() {
        assert_eq!(
            words(&holder(Held::Current, Does::Connects, 2), NOW),
            "holds the current certificate (2 connections)"
        );
        let behind = words(&holder(Held::Before, Does::Connects, 1), NOW);
        assert_eq!(behind, "STILL HOLDS THE ONE BEFORE: serial 1f (1 connection)");
        let away = words(&holder(Held::Current, Does::Connects, 0), NOW);
        assert_eq!(away, "holds the current certificate (not connected, last seen 3m 0s ago)");
        let gone = words(&holder(Held::Before, Does::Connects, 0), NOW);
        assert_eq!(gone, "last seen with the one before, serial 1f (not connected, 3m 0s ago)");
        assert_eq!(words(&holder(Held::Before, Does::Serves, 0), NOW), "STILL SERVES THE ONE BEFORE: serial 1f");
    }

    #[test]
    fn of_each_ca_it_is_said_whether_retiring_it_cuts_somebody_off() {
        let old = |connected: &[&str]| Use {
            authority: "CN=ca-1".to_owned(),
            is: Standing::Before,
            connected: connected.iter().map(|name| (*name).to_owned()).collect(),
            seen: None,
        };
        assert!(usage(&old(&["app"]), NOW).ends_with("app – `cert retire` would cut them off"));
        assert!(usage(&old(&[]), NOW).contains("nobody since the warden started"));
    }
}
