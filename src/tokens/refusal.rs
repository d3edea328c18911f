//! Why a token does not pass, in the words that follow `Unauthorized: `.

use std::{fmt, time::Duration};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Why a token does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// `exp` has come.
    Expired {
        /// How long ago.
        ago: Duration,
    },
    /// `nbf` (or `iat`) is still ahead.
    NotYetValid {
        /// From when on it is.
        from: OffsetDateTime,
    },
    /// `iss` is another.
    WrongIssuer {
        /// What the token says.
        held: String,
        /// What is accepted.
        wanted: String,
    },
    /// `aud` is another.
    WrongAudience {
        /// What is accepted.
        wanted: String,
    },
    /// No trusted key has the token's `kid`.
    UnknownKey {
        /// The `kid`, if it has one.
        kid: Option<String>,
    },
    /// The header's `alg` is not the one of the key.
    Algorithm {
        /// What the header says.
        held: String,
    },
    /// The signature is not the key's.
    Signature,
    /// Not a token at all, or one that carries what is never accepted.
    Malformed(&'static str),
    /// A required claim is missing.
    MissingClaim(&'static str),
    /// A claim of the wrong type or out of range.
    BadClaim {
        /// Which claim.
        claim: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A claim that a setting names is missing, or is of another type.
    NoMapped {
        /// Which claim.
        claim: String,
        /// The setting.
        setting: &'static str,
    },
    /// A `typ` of something that is no access or ID token (RFC 8725 §3.11).
    Type {
        /// What the header says.
        held: String,
    },
    /// Another issuer gave it a name that is one of the warden's own.
    Reserved {
        /// The name.
        sub: String,
    },
    /// No known scope: such a token could call nothing.
    Scope {
        /// What the token says.
        held: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { ago } => write!(f, "token expired {} ago", short(*ago)),
            Self::NotYetValid { from } => {
                let from = from.format(&Rfc3339).unwrap_or_else(|_| from.unix_timestamp().to_string());
                write!(f, "token is not valid before {from}")
            }
            Self::WrongIssuer { held, wanted } => write!(f, "token issuer is {}, not {wanted:?}", quoted(held)),
            Self::WrongAudience { wanted } => write!(f, "token audience does not name {wanted:?}"),
            Self::UnknownKey { kid: Some(kid) } => write!(f, "token is signed by unknown key {}", quoted(kid)),
            Self::UnknownKey { kid: None } => f.write_str("token names no key (header kid)"),
            Self::Algorithm { held } => write!(f, "token algorithm {} is not accepted", quoted(held)),
            Self::Signature => f.write_str("token signature is not valid"),
            Self::Malformed(why) => write!(f, "token {why}"),
            Self::MissingClaim(claim) => write!(f, "token has no {claim} claim"),
            Self::BadClaim { claim, wanted } => write!(f, "token claim {claim} is not {wanted}"),
            Self::NoMapped { claim, setting } => write!(f, "token has no text in claim {claim}, which {setting} names"),
            Self::Type { held } => write!(f, "token type {} is neither an access token nor an ID token", quoted(held)),
            Self::Reserved { sub } => {
                write!(f, "token subject {} is a name of the warden's own, which no other issuer may use", quoted(sub))
            }
            Self::Scope { held } => write!(f, "token scope {} holds none of the known scopes", quoted(held)),
        }
    }
}

impl std::error::Error for Refusal {}

/// A foreign text, escaped and short enough for a status message.
fn quoted(text: &str) -> String {
    let mut end = text.len().min(64);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{:?}", &text[..end])
}

/// The two largest units: `3h 12m`, `2d 1h`, `41s`.
fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| seconds >= *size) else { return "0s".to_owned() };
    let mut rest = seconds;
    let mut words = Vec::new();
    for (size, unit) in units.iter().skip(first).take(2) {
        if rest >= *size {
            words.push(format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_two_units() {
        let said = |s| short(Duration::from_secs(s));
        assert_eq!(
            [said(0), said(41), said(3_600 * 3 + 60 * 12 + 5), said(2 * 86_400 + 59)],
            ["0s", "41s", "3h 12m", "2d"]
        );
        assert_eq!(Refusal::Expired { ago: Duration::from_secs(11_520) }.to_string(), "token expired 3h 12m ago");
    }

    #[test]
    fn foreign_words_are_escaped_and_cut() {
        let words = Refusal::UnknownKey { kid: Some(format!("a\nb{}", "ü".repeat(90))) }.to_string();
        assert!(words.contains(r"a\nb") && words.len() < 120, "{words}");
    }
}
