//! The external issuer, as the gateway has it.

use time::OffsetDateTime;

use super::Finding;
use crate::gateway::link::IssuerSight;

pub(super) fn check(sight: Option<&IssuerSight>, now: OffsetDateTime) -> Vec<Finding> {
    sight.map(|issuer| finding(issuer, now)).into_iter().collect()
}

fn finding(issuer: &IssuerSight, now: OffsetDateTime) -> Finding {
    let said = match issuer.error.as_str() {
        "" => issuer.words(now),
        error => format!("{}; the last fetch failed: {error}", issuer.words(now)),
    };
    let detail = format!("{}: {said}", issuer.issuer);
    let fix = "look at WARDEN_EXTERNAL_JWKS_URL, WARDEN_EXTERNAL_CA_FILE and the issuer itself; curl its URL from this container";
    match (issuer.keys.is_empty(), issuer.error.is_empty()) {
        (true, _) => Finding::bad("issuer", detail, fix),
        (false, false) => Finding::warning("issuer", detail, fix),
        (false, true) => Finding::good("issuer", detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn an_issuer_that_is_away_is_a_warning_until_its_keys_are_gone() {
        let verdict = |keys: &[&str], error: &str| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            let sight = IssuerSight { keys, error: error.to_owned(), ..IssuerSight::default() };
            finding(&sight, OffsetDateTime::UNIX_EPOCH).verdict
        };
        assert_eq!(verdict(&["a"], ""), Verdict::Good);
        assert_eq!(verdict(&["a"], "refused"), Verdict::Warning);
        assert_eq!(verdict(&[], "refused"), Verdict::Bad);
        assert!(check(None, OffsetDateTime::UNIX_EPOCH).is_empty());
    }
}
