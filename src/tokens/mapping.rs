//! What another issuer's claims stand for here: values of a claim → scopes, and namespaces.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Scope, Scopes};

/// What one value of the scope claim grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The scope.
    pub scope: Scope,
    /// Only those of its methods that change nothing.
    pub reads: bool,
}

impl FromStr for Granted {
    type Err = String;

    /// `temporal-client`, or `temporal-client:read`.
    fn from_str(word: &str) -> Result<Self, String> {
        let (scope, reads) = word.strip_suffix(":read").map_or((word, false), |scope| (scope, true));
        let scope: Scope = scope.parse()?;
        if reads && scope == Scope::Worker {
            return Err("temporal-worker:read is senseless: all that a worker calls changes something".to_owned());
        }
        Ok(Self { scope, reads })
    }
}

/// `VALUE=MEANING`: a value of a claim, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The value, compared as it is.
    pub value: String,
    /// A scope as [`Granted`] reads it, or a namespace.
    pub means: String,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The last sign: values such as `cn=ops,…` have signs of their own.
        match text.trim().rsplit_once('=') {
            Some((value, means)) if !value.trim().is_empty() && !means.trim().is_empty() => {
                Ok(Self { value: value.trim().to_owned(), means: means.trim().to_owned() })
            }
            _ => Err(format!("{text:?} is no VALUE=MEANING")),
        }
    }
}

/// The claim at `path`: a name, or names with dots between them that lead into objects. A claim whose own name has the
/// dots (`https://example.com/roles`) goes first.
pub(super) fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(whole) = claims.get(path) {
        return Some(whole);
    }
    let mut names = path.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.as_object()?.get(name))
}

/// The texts of a claim: a list of strings, or one string of words as `scope` is. What is no text stands for nothing.
pub(super) fn texts(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(words)) => words.split(' ').filter(|word| !word.is_empty()).collect(),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Scopes held whole, and those held for reading only.
pub(super) fn scopes(texts: &[&str], mappings: &[Mapping]) -> (Scopes, Scopes) {
    let held = mappings.iter().filter(|mapping| texts.contains(&mapping.value.as_str()));
    let granted: Vec<Granted> = held.filter_map(|mapping| mapping.means.parse().ok()).collect();
    let of = |reads| granted.iter().filter(move |granted| granted.reads == reads).map(|granted| granted.scope);
    let whole: Scopes = of(false).collect();
    let reads = of(true).filter(|scope| !whole.contains(*scope)).collect();
    (whole, reads)
}

/// The namespaces that a claim's texts name, through `mappings` where there are any.
pub(super) fn namespaces(texts: &[&str], mappings: &[Mapping]) -> Vec<String> {
    let mut names: Vec<String> = match mappings {
        [] => texts.iter().map(|text| (*text).to_owned()).collect(),
        some => {
            let held = some.iter().filter(|mapping| texts.contains(&mapping.value.as_str()));
            held.map(|mapping| mapping.means.clone()).collect()
        }
    };
    // A name with a colon would be another entry of Temporal's permissions, and this one is its whole cluster.
    names.retain(|name| !name.is_empty() && !name.contains(':') && name != "temporal-system");
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mappings(text: &str) -> Vec<Mapping> {
        text.split(',').map(|one| one.parse().unwrap()).collect()
    }

    #[test]
    fn a_claim_is_found_by_its_own_name_before_its_dots_lead_anywhere() {
        let claims = json!({
            "groups": ["a", 1, "b"], "scope": "x  y", "realm_access": { "roles": ["r"] }, "https://a.b/roles": ["u"],
            "realm_access.roles": ["whole"],
        });
        let claims = claims.as_object().unwrap();
        let of = |path: &str| texts(claim(claims, path));
        assert_eq!(of("groups"), ["a", "b"]);
        assert_eq!(of("scope"), ["x", "y"]);
        assert_eq!(of("https://a.b/roles"), ["u"]);
        assert_eq!(of("realm_access.roles"), ["whole"]);
        let nested = json!({ "realm_access": { "roles": ["r"] } });
        assert_eq!(texts(claim(nested.as_object().unwrap(), "realm_access.roles")), ["r"]);
        assert!(of("realm_access.none").is_empty() && of("none").is_empty() && of("groups.a").is_empty());
    }

    #[test]
    fn the_whole_scope_wins_over_reading_and_unmapped_values_grant_nothing() {
        let rules = mappings("ops=temporal-client,seers=temporal-client:read,admins=temporal-system:read");
        let of = |values: &[&str]| {
            let (whole, reads) = scopes(values, &rules);
            (whole.to_string(), reads.to_string())
        };
        assert_eq!(of(&["ops", "seers"]), ("temporal-client".to_owned(), String::new()));
        assert_eq!(of(&["seers"]), (String::new(), "temporal-client".to_owned()));
        assert_eq!(of(&["ops", "admins"]), ("temporal-client".to_owned(), "temporal-system".to_owned()));
        assert_eq!(of(&["Ops", "temporal-system", "op"]), (String::new(), String::new()));
    }

    #[test]
    fn namespaces_are_named_or_mapped_and_never_the_whole_cluster() {
        assert_eq!(namespaces(&["b", "a", "b"], &[]), ["a", "b"]);
        assert_eq!(namespaces(&["temporal-system", "x:admin", ""], &[]), [""; 0]);
        assert_eq!(namespaces(&["team", "other"], &mappings("team=pay,team=bill,none=x")), ["bill", "pay"]);
        assert_eq!(namespaces(&["pay"], &mappings("team=pay")), [""; 0]);
    }

    #[test]
    fn a_mapping_is_cut_at_its_last_sign() {
        let ldap: Mapping = "cn=ops=temporal-client".parse().unwrap();
        assert_eq!((ldap.value.as_str(), ldap.means.as_str()), ("cn=ops", "temporal-client"));
        assert!(
            "ops".parse::<Mapping>().is_err() && "=x".parse::<Mapping>().is_err() && "x=".parse::<Mapping>().is_err()
        );
        assert!("temporal-worker:read".parse::<Granted>().is_err() && "admin".parse::<Granted>().is_err());
    }
}
