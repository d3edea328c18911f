//! What a token says: scopes, and the permissions Temporal's own authorizer reads.

use std::{fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};

use crate::pki::Certificate;

/// One scope (contract §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Everything.
    System = 1,
    /// What worker processes call.
    Worker = 2,
    /// What application clients call.
    Client = 4,
}

impl Scope {
    /// Every scope, strongest first.
    pub const ALL: [Self; 3] = [Self::System, Self::Worker, Self::Client];

    /// Its word in the `scope` claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "temporal-system",
            Self::Worker => "temporal-worker",
            Self::Client => "temporal-client",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == word);
        known.ok_or_else(|| format!("{word:?} is no scope; there are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// How many sets there are.
    pub const SETS: usize = 1 << Scope::ALL.len();

    /// Its number among all sets.
    pub const fn number(self) -> usize {
        self.0 as usize
    }

    /// Every set, in the order of its number.
    pub fn sets() -> impl Iterator<Item = Self> {
        (0..1 << Scope::ALL.len()).map(Self)
    }

    /// The known words of a `scope` claim; other words grant nothing.
    pub fn parse(claim: &str) -> Self {
        claim.split(' ').filter_map(|word| word.parse().ok()).collect()
    }

    /// Whether the scope is held.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Those of both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether none is held.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The `scope` claim: words separated by single spaces.
    pub fn words(self) -> &'static str {
        static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
            let words = |set: Scopes| set.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
            Scopes::sets().map(words).collect()
        });
        &WORDS[self.number()]
    }

    /// Those held, strongest first.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope as u8))
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self(scope as u8)
    }
}

impl fmt::Display for Scopes {
    /// The `scope` claim: words separated by single spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The payload of a token of the warden's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// Subject.
    pub sub: String,
    /// Scopes, space-separated.
    pub scope: String,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Not valid before, Unix seconds.
    pub nbf: i64,
    /// Expires at, Unix seconds.
    pub exp: i64,
    /// Id of this token (UUIDv7).
    pub jti: String,
    /// `NAMESPACE:ROLE` entries of Temporal's own authorizer. Always a list: a plain string grants nothing there.
    pub permissions: Vec<String>,
    /// Namespaces the token is limited to; absent = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Certificate the token is bound to (RFC 8705).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
}

/// The `cnf` claim of RFC 8705; also what a client certificate shows for it.
///
/// The warden's own tokens name the key of their certificate too. A renewal that keeps the key then leaves token and
/// certificate of two generations together: to both belongs the same proof of possession, which is what they are bound for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// SHA-256 of the client certificate, base64url.
    #[serde(rename = "x5t#S256")]
    pub x5t: String,
    /// SHA-256 of its SubjectPublicKeyInfo, base64url (the pin of RFC 7469); absent = this certificate and no other.
    #[serde(rename = "spki#S256", skip_serializing_if = "Option::is_none")]
    pub spki: Option<String>,
}

impl Confirmation {
    /// This certificate and no other.
    pub fn exactly(x5t: String) -> Self {
        Self { x5t, spki: None }
    }

    /// All that a client certificate shows for a token: itself and its key.
    pub fn of(certificate: &Certificate) -> Self {
        Self { x5t: certificate.x5t(), spki: Some(certificate.spki()) }
    }

    /// Whether a token bound so passes over a connection with a certificate that shows this.
    pub fn allows(&self, shown: &Self) -> bool {
        self.x5t == shown.x5t || (self.spki.is_some() && self.spki == shown.spki)
    }
}

/// What Temporal's own authorizer is told: system is admin; worker and client may write, and the gateway narrows them.
pub fn permissions(scopes: Scopes, namespaces: Option<&[String]>) -> Vec<String> {
    if scopes.contains(Scope::System) {
        return vec!["temporal-system:admin".to_owned()];
    }
    match namespaces {
        None => vec!["temporal-system:write".to_owned()],
        Some(names) => names.iter().map(|name| format!("{name}:write")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_bound_to_a_key_passes_over_each_certificate_of_it_and_one_without_over_its_own_alone() {
        let of = |x5t: &str, spki: Option<&str>| Confirmation { x5t: x5t.to_owned(), spki: spki.map(str::to_owned) };
        let shown = of("new", Some("key"));
        assert!(of("new", None).allows(&shown) && of("old", Some("key")).allows(&shown));
        assert!(!of("old", Some("other")).allows(&shown) && !of("old", None).allows(&shown));
        assert!(!of("old", None).allows(&of("new", None)));
    }

    #[test]
    fn unknown_words_grant_nothing() {
        let scopes = Scopes::parse("openid temporal-client temporal-systemx TEMPORAL-SYSTEM  temporal-worker");
        assert_eq!(scopes.to_string(), "temporal-worker temporal-client");
        assert!(!scopes.contains(Scope::System));
        assert!(Scopes::parse("temporal-system,temporal-client").is_empty());
    }

    #[test]
    fn permissions_follow_the_scope_and_the_namespaces() {
        let of = |claim: &str, names: Option<&[String]>| permissions(Scopes::parse(claim), names);
        assert_eq!(of("temporal-system temporal-client", None), ["temporal-system:admin"]);
        assert_eq!(of("temporal-worker", None), ["temporal-system:write"]);
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(of("temporal-client", Some(&names)), ["a:write", "b:write"]);
    }
}
