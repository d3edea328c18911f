//! `WARDEN_EXTERNAL_*` → [`External`]: pure but for the image's list of authorities, which `load` reads.

use std::{io, net::IpAddr, path::Path, time::Duration};

use http::Uri;
use jsonwebtoken::Algorithm;

use super::{
    External, ExternalKeys, Fetched,
    parse::Parser,
    raw::{Raw, Setting},
};
use crate::tokens::{ALGORITHMS, ExternalRules, Granted, IssuerKeys, Mapping};

/// Authorities of the image (Debian's package ca-certificates).
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// It goes with each version of the material; real ones are a few kilobytes.
const LARGEST_JWKS: usize = 32 << 10;
/// Longest leeway: more would be a clock to set right.
const LONGEST_LEEWAY: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);

/// The authorities of the image, where keys are fetched by https and no CA is named.
pub(super) fn authorities(raw: &Raw, read: &impl Fn(&Path) -> io::Result<String>) -> Option<String> {
    let url = raw.external_jwks_url.given().or_else(|| raw.external_issuer.given())?;
    let needed = raw.external_jwks_file.given().is_none() && raw.external_ca_file.given().is_none();
    (needed && url.starts_with("https:")).then(|| read(Path::new(AUTHORITIES)).ok()).flatten()
}

/// The issuer, or `None` without one; `jwks` and `ca` are contents of files.
pub(super) fn external(p: &mut Parser, raw: &Raw, (jwks, ca): (Option<String>, Option<String>)) -> Option<External> {
    if raw.external_issuer.given().is_none() {
        for setting in [&raw.external_audience, &raw.external_jwks_url, &raw.external_jwks_file, &raw.external_scopes] {
            if setting.given().is_some() {
                p.refuse(setting, "needs WARDEN_EXTERNAL_ISSUER as well");
            }
        }
        return None;
    }
    let rules = rules(p, raw);
    let keys = match raw.external_jwks_file.given() {
        Some(_) => file(p, raw, jwks),
        None => ExternalKeys::Fetched(Box::new(fetched(p, raw, ca))),
    };
    Some(External { rules, keys })
}

fn rules(p: &mut Parser, raw: &Raw) -> ExternalRules {
    let issuer = raw.external_issuer.text.clone();
    if issuer == raw.token_issuer.text {
        p.refuse(&raw.external_issuer, "is the warden's own issuer; tokens of two issuers must not be mistaken");
    }
    let audiences = words(&raw.external_audience);
    if audiences.is_empty() {
        p.refuse(&raw.external_audience, "must name at least one audience: tokens for others must not pass here");
    }
    let leeway = p.duration(&raw.external_leeway);
    if leeway > LONGEST_LEEWAY {
        p.refuse(&raw.external_leeway, "is too long; at most 5m");
    }
    ExternalRules {
        issuer,
        audiences,
        algorithms: algorithms(p, &raw.external_algorithms),
        leeway,
        subject_claim: claim(p, &raw.external_subject_claim),
        scope_claim: claim(p, &raw.external_scope_claim),
        scopes: scopes(p, &raw.external_scopes),
        namespaces_claim: raw.external_namespaces_claim.given().map(str::to_owned),
        namespaces: namespaces(p, raw),
    }
}

fn words(setting: &Setting) -> Vec<String> {
    setting.text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn claim(p: &mut Parser, setting: &Setting) -> String {
    if setting.text.trim().is_empty() {
        p.refuse(setting, "must name a claim");
    }
    setting.text.clone()
}

fn algorithms(p: &mut Parser, setting: &Setting) -> Vec<Algorithm> {
    let mut known = Vec::new();
    for word in setting.text.split([',', ' ', '\n']).filter(|word| !word.is_empty()) {
        match word.parse::<Algorithm>().ok().filter(|algorithm| ALGORITHMS.contains(algorithm)) {
            Some(algorithm) => known.push(algorithm),
            None => p.refuse(setting, format_args!("{word:?} is none of RS256, PS256, ES256, ES384, EdDSA")),
        }
    }
    if words(setting).is_empty() {
        p.refuse(setting, "must name at least one of RS256, PS256, ES256, ES384, EdDSA");
    }
    known
}

fn mappings(p: &mut Parser, setting: &Setting) -> Vec<Mapping> {
    let (mut good, all) = (Vec::new(), words(setting));
    for mapping in all.iter().map(|word| word.parse::<Mapping>()) {
        match mapping {
            Ok(mapping) => good.push(mapping),
            Err(why) => p.refuse(setting, why),
        }
    }
    good
}

fn scopes(p: &mut Parser, setting: &Setting) -> Vec<Mapping> {
    let mappings = mappings(p, setting);
    if setting.given().is_none() {
        p.refuse(setting, "maps no value to a scope, so that nobody could do anything; write VALUE=temporal-client");
    }
    for mapping in &mappings {
        if let Err(why) = mapping.means.parse::<Granted>() {
            p.refuse(setting, format_args!("{}: {why}", mapping.value));
        }
    }
    mappings
}

fn namespaces(p: &mut Parser, raw: &Raw) -> Vec<Mapping> {
    let mappings = mappings(p, &raw.external_namespaces);
    if !mappings.is_empty() && raw.external_namespaces_claim.given().is_none() {
        p.refuse(&raw.external_namespaces, "needs WARDEN_EXTERNAL_NAMESPACES_CLAIM as well");
    }
    for mapping in mappings.iter().filter(|mapping| mapping.means.contains(':') || mapping.means == "temporal-system") {
        p.refuse(&raw.external_namespaces, format_args!("{:?} is no namespace that may be given", mapping.means));
    }
    mappings
}

fn file(p: &mut Parser, raw: &Raw, jwks: Option<String>) -> ExternalKeys {
    let setting = &raw.external_jwks_file;
    if raw.external_jwks_url.given().is_some() {
        p.refuse(setting, "and WARDEN_EXTERNAL_JWKS_URL are both set; keep one of them");
    }
    p.path(setting);
    // What could not be read has been said.
    let jwks = jwks.unwrap_or_default();
    if jwks.len() > LARGEST_JWKS {
        p.refuse(setting, format_args!("is larger than {} KiB", LARGEST_JWKS >> 10));
    } else if !jwks.is_empty()
        && let Err(why) = IssuerKeys::parse(&jwks)
    {
        p.refuse(setting, why);
    }
    ExternalKeys::File(jwks)
}

fn fetched(p: &mut Parser, raw: &Raw, ca: Option<String>) -> Fetched {
    let allow_http = p.switch(&raw.external_allow_http);
    let discovery = raw.external_jwks_url.given().is_none();
    let setting = if discovery { &raw.external_issuer } else { &raw.external_jwks_url };
    let target = target(&setting.text, allow_http);
    let (secure, port) = target.unwrap_or_else(|why| {
        let hint = if discovery {
            "; without discovery set WARDEN_EXTERNAL_JWKS_URL or WARDEN_EXTERNAL_JWKS_FILE"
        } else {
            ""
        };
        p.refuse(setting, format_args!("{why}{hint}"));
        (false, 0)
    });
    if secure && ca.is_none() && raw.external_ca_file.given().is_none() {
        p.refuse(&raw.external_ca_file, format_args!("is needed: there are no authorities in {AUTHORITIES}"));
    }
    let refresh = p.duration_from(&raw.external_refresh, SECOND);
    let retry = p.duration_from(&raw.external_retry, SECOND);
    let stale = p.duration_from(&raw.external_stale, SECOND);
    let longest = raw.external_refresh.shown();
    if retry > refresh && p.are_good(&[&raw.external_retry, &raw.external_refresh]) {
        p.refuse(&raw.external_retry, format_args!("must not be longer than {longest}"));
    }
    if stale < refresh && p.are_good(&[&raw.external_stale, &raw.external_refresh]) {
        p.refuse(&raw.external_stale, format_args!("must not be shorter than {longest}"));
    }
    Fetched {
        url: setting.text.clone(),
        discovery,
        port,
        allow_http,
        trust_pem: ca.filter(|_| secure),
        refresh,
        retry,
        stale,
    }
}

/// Whether a URL is asked by https, and its port.
fn target(url: &str, allow_http: bool) -> Result<(bool, u16), String> {
    let uri: Uri = url.parse().map_err(|e| format!("is no URL ({e})"))?;
    uri.host().filter(|host| !host.is_empty()).ok_or("is no URL with a host")?;
    let plain = "is plain http, by which anybody in between could give keys of his own; use https, or set WARDEN_EXTERNAL_ALLOW_HTTP";
    let refusal = if uri.scheme_str() == Some("http") { plain } else { "must begin with https://" };
    security(&uri, allow_http).ok_or_else(|| refusal.to_owned())
}

/// Whether keys are asked for by TLS at this URL, and the port; `None` where they may not be: plain `http` is for this host,
/// or by explicit wish.
pub(crate) fn security(uri: &Uri, allow_http: bool) -> Option<(bool, u16)> {
    match uri.scheme_str()? {
        "https" => Some((true, uri.port_u16().unwrap_or(443))),
        "http" if allow_http || is_here(uri.host().unwrap_or_default()) => Some((false, uri.port_u16().unwrap_or(80))),
        _ => None,
    }
}

/// Whether a host is this one: then nobody is in between.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_host_or_by_explicit_wish() {
        assert_eq!(target("https://id.example/x", false), Ok((true, 443)));
        assert_eq!(target("http://[::1]:8080/x", false), Ok((false, 8080)));
        assert_eq!(target("http://id.example/x", true), Ok((false, 80)));
        for (url, words) in [
            ("http://id.example", "plain http"),
            ("http://127.0.0.1.evil", "plain http"),
            ("ftp://id.example", "https"),
            ("x y", "URL"),
        ] {
            assert!(target(url, false).unwrap_err().contains(words), "{url}");
        }
    }
}
