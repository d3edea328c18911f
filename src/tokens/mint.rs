//! Minting: a grant, a key and a moment become a compact token.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header};
use time::{Duration, OffsetDateTime};

use super::{Claims, Confirmation, Error, Scope, Scopes, SigningKey, claims::permissions};

/// How far `iat` and `nbf` are dated back: readers allow no leeway, and Temporal denies a future `iat`.
const BACKDATE: Duration = Duration::seconds(60);

/// What a new token should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// `sub`.
    pub sub: String,
    /// `scope`.
    pub scopes: Scopes,
    /// `namespaces`; `None` = all.
    pub namespaces: Option<Vec<String>>,
    /// `cnf`: the client certificate the token is bound to.
    pub cnf_x5t: Option<Confirmation>,
    /// From now to `exp`.
    pub life: Duration,
}

/// Signs one token. The result carries no newline: SDKs silently drop a header value that ends in one.
pub fn mint(key: &SigningKey, grant: &Grant, now: OffsetDateTime) -> Result<String, Error> {
    let failed = |reason: String| Error::Grant { sub: grant.sub.clone(), reason };
    check(grant).map_err(failed)?;
    let header = Header { kid: Some(key.public().kid.clone()), ..Header::new(Algorithm::ES256) };
    let header = serde_json::to_vec(&header).map_err(|e| failed(e.to_string()))?;
    let mut claims = serde_json::to_vec(&claims(grant, now)?).map_err(|e| failed(e.to_string()))?;
    // White space up to a multiple of three bytes: then `cut -d. -f2 | base64 -d | jq .exp` needs no padding.
    claims.resize(claims.len().next_multiple_of(3), b' ');
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key.encoding(), Algorithm::ES256);
    Ok(format!("{message}.{}", signature.map_err(|e| failed(e.to_string()))?))
}

fn check(grant: &Grant) -> Result<(), String> {
    if grant.sub.is_empty() {
        return Err("the subject is empty".to_owned());
    }
    if grant.scopes.is_empty() {
        return Err(format!("it has no scope; there are {}", Scope::ALL.map(Scope::as_str).join(", ")));
    }
    if grant.life <= Duration::ZERO {
        return Err(format!("a life of {} is over before it begins", grant.life));
    }
    match &grant.namespaces {
        Some(_) if grant.scopes.contains(Scope::System) => {
            Err("temporal-system is admin of the whole cluster and can't be limited to namespaces".to_owned())
        }
        Some(names) if names.iter().any(|n| n.is_empty() || n.contains(':') || n == "temporal-system") => {
            Err("a namespace is empty, has a colon or is temporal-system".to_owned())
        }
        Some(names) if names.is_empty() => {
            Err("the list of namespaces is empty: the token could do nothing".to_owned())
        }
        _ => Ok(()),
    }
}

fn claims(grant: &Grant, now: OffsetDateTime) -> Result<Claims, Error> {
    let issued = (now - BACKDATE).unix_timestamp();
    Ok(Claims {
        iss: grant.issuer.clone(),
        aud: grant.audience.clone(),
        sub: grant.sub.clone(),
        scope: grant.scopes.to_string(),
        iat: issued,
        nbf: issued,
        exp: (now + grant.life).unix_timestamp(),
        jti: uuid_v7(now)?,
        permissions: permissions(grant.scopes, grant.namespaces.as_deref()),
        namespaces: grant.namespaces.clone(),
        cnf: grant.cnf_x5t.clone(),
    })
}

fn uuid_v7(now: OffsetDateTime) -> Result<String, Error> {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Error::Grant { sub: String::new(), reason: "the random generator failed".to_owned() })?;
    let millis = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn grant(scope: &str) -> Grant {
        Grant {
            issuer: "temporal-warden".to_owned(),
            audience: "temporal".to_owned(),
            sub: "temporal-client".to_owned(),
            scopes: Scopes::parse(scope),
            namespaces: None,
            cnf_x5t: None,
            life: Duration::days(90),
        }
    }

    #[test]
    fn the_claims_are_those_of_the_contract() {
        let now = datetime!(2026-11-24 12:00 UTC);
        let claims = claims(&grant("temporal-client"), now).unwrap();
        assert_eq!((claims.iat, claims.nbf), (now.unix_timestamp() - 60, now.unix_timestamp() - 60));
        assert_eq!(claims.exp, now.unix_timestamp() + 90 * 86_400);
        assert_eq!(claims.scope, "temporal-client");
        assert_eq!(uuid::Uuid::parse_str(&claims.jti).unwrap().get_version_num(), 7);
        let json = serde_json::to_value(&claims).unwrap();
        assert!(json["permissions"].is_array() && json.get("namespaces").is_none() && json.get("cnf").is_none());
    }

    #[test]
    fn senseless_grants_are_refused() {
        let key = SigningKey::generate().unwrap();
        let refused = |g: Grant| mint(&key, &g, datetime!(2026-11-24 12:00 UTC)).unwrap_err().to_string();
        assert!(refused(grant("")).contains("it has no scope; there are temporal-system"));
        assert!(refused(Grant { sub: String::new(), ..grant("temporal-client") }).ends_with(": the subject is empty"));
        assert!(
            refused(Grant { life: Duration::ZERO, ..grant("temporal-client") }).ends_with("is over before it begins")
        );
        let limited = |names: &[&str], scope| Grant {
            namespaces: Some(names.iter().map(|n| (*n).to_owned()).collect()),
            ..grant(scope)
        };
        assert!(refused(limited(&["a"], "temporal-system")).contains("can't be limited"));
        assert!(refused(limited(&["temporal-system"], "temporal-client")).contains("temporal-system"));
        assert!(refused(limited(&[], "temporal-client")).contains("could do nothing"));
        assert!(
            refused(limited(&["a:b"], "temporal-client")).starts_with("failed to mint a token for \"temporal-client\"")
        );
    }
}
