//! Judging the CA: the warden's own in the folder, or the user's.

use super::{
    Problem,
    artefact::{CA_CERT, CA_KEY, LeafId},
    inputs::OwnCaFiles,
    judge::{Judgement, Scene, Window, date, text},
};
use crate::{
    pki::{Authority, Certificate, is_sealed, trust},
    store::Set,
};

/// Whether leafs can be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Issuing {
    /// The key is at hand (or everything is about to be made).
    Possible,
    /// There is a CA without its key: what is given is served, nothing is issued.
    Offline {
        /// What to do to issue.
        fix: String,
    },
}

/// The other way to a leaf.
const SIGN: &str = "have it signed elsewhere: `temporal-warden cert csr`, then `cert install`";

/// What is known of the CA.
pub(super) struct Found {
    pub(super) judgement: Judgement,
    pub(super) issuing: Issuing,
    pub(super) trust: Vec<Certificate>,
    pub(super) new_trust: Option<String>,
    /// A key in clear although there is a passphrase to encrypt it by.
    pub(super) unsealed: Option<Problem>,
}

impl Found {
    fn only(judgement: Judgement) -> Self {
        Self { judgement, issuing: Issuing::Possible, trust: Vec::new(), new_trust: None, unsealed: None }
    }
}

pub(super) fn judge(set: &Set, scene: &Scene<'_>) -> Found {
    match scene.own_ca {
        Some(own) => judge_own(own, set, scene),
        None => judge_ours(set, scene),
    }
}

fn judge_ours(set: &Set, scene: &Scene<'_>) -> Found {
    let (cert, key) = (text(set, CA_CERT), text(set, CA_KEY));
    let unsealed = key.as_deref().and_then(|key| in_clear(key, scene.at(CA_KEY), scene));
    let fix =
        format!("restore it from a backup; to start over with a new CA empty {}", scene.config.certs.dir.display());
    let Some(cert) = cert else {
        let orphan = LeafId::ALL.into_iter().find(|id| set.contains_key(id.cert()));
        return Found::only(match (key, orphan) {
            (None, None) => Judgement::Missing,
            (Some(_), _) => scene.problem(CA_CERT, "is missing although ca.key is there", fix),
            (None, Some(leaf)) => scene.problem(CA_CERT, format!("is missing although {} is there", leaf.cert()), fix),
        });
    };
    let certificates = match read(&cert) {
        Ok(certificates) => certificates,
        Err(e) => return Found::only(scene.problem(CA_CERT, e, fix)),
    };
    let issuing = match key.as_deref() {
        Some(key) => match open(&cert, key, scene) {
            Ok(()) => Issuing::Possible,
            Err(e) => {
                let fix = e.unsealing().map_or(fix, str::to_owned);
                return Found::only(scene.problem(CA_KEY, e, fix));
            }
        },
        None => Issuing::Offline { fix: format!("put the CA's key at {}, or {SIGN}", scene.at(CA_KEY).display()) },
    };
    let judgement = by_time(&certificates[0], |what| scene.problem(CA_CERT, what, fix));
    Found { judgement: judgement(scene), issuing, trust: certificates, new_trust: None, unsealed }
}

fn judge_own(own: &OwnCaFiles, set: &Set, scene: &Scene<'_>) -> Found {
    let broken = |path: &std::path::Path, what: String, fix: &str| {
        Judgement::Broken(Problem { path: path.to_owned(), what, fix: fix.to_owned() })
    };
    let fix = "WARDEN_CA_CERT_FILE must hold the issuing CA, then its parents";
    let certificates = match read(&own.cert_pem) {
        Ok(certificates) => certificates,
        Err(e) => return Found::only(broken(&own.cert_file, e.to_string(), fix)),
    };
    if let Some(parent) = unrooted(&certificates) {
        let what = format!("lacks {parent}, which {} leads to", certificates[0].subject);
        return Found::only(broken(&own.cert_file, what, "add its parents up to the root, behind it"));
    }
    let mut issuing = Issuing::Offline { fix: format!("set WARDEN_CA_KEY_FILE, or {SIGN}") };
    if let (Some(path), Some(key)) = (&own.key_file, &own.key_pem) {
        if let Err(e) = open(&own.cert_pem, key.expose(), scene) {
            let fix = "WARDEN_CA_KEY_FILE must hold the key of the first certificate of WARDEN_CA_CERT_FILE";
            let fix = e.unsealing().unwrap_or(fix);
            return Found::only(broken(path, e.to_string(), fix));
        }
        issuing = Issuing::Possible;
    }
    // A CA key of the warden's own beside another CA would be lost with the generations it is in.
    if let Some(key) = text(set, CA_KEY)
        && open(&own.cert_pem, &key, scene).is_err()
    {
        let fix = "WARDEN_CA_CERT_FILE names another: move this key to a safe place first";
        return Found::only(scene.problem(CA_KEY, "is the key of the CA the warden made", fix));
    }
    let pem: String = trust(&certificates).map(Certificate::to_pem).collect();
    let new_trust = text(set, CA_CERT).is_none_or(|old| old != pem).then_some(pem);
    let judgement = by_time(&certificates[0], |what| broken(&own.cert_file, what, "renew it and start again"));
    let trust = trust(&certificates).cloned().collect();
    let key = own.key_pem.as_ref().zip(own.key_file.as_ref());
    let unsealed = key.and_then(|(pem, path)| in_clear(pem.expose(), path.clone(), scene));
    Found { judgement: judgement(scene), issuing, trust, new_trust, unsealed }
}

/// Errors unless the key, encrypted or not, is that of the first certificate, and that one may sign.
fn open(cert: &str, key: &str, scene: &Scene<'_>) -> Result<(), crate::pki::Error> {
    Authority::load(cert, scene.vault.open(key)?.expose()).map(drop)
}

fn in_clear(key: &str, path: std::path::PathBuf, scene: &Scene<'_>) -> Option<Problem> {
    let what = "is not encrypted although WARDEN_CA_KEY_PASSPHRASE_FILE is set".to_owned();
    let fix = "encrypt it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEW-KEY".to_owned();
    (scene.vault.seals() && !is_sealed(key)).then_some(Problem { path, what, fix })
}

fn read(pem: &str) -> Result<Vec<Certificate>, crate::pki::Error> {
    let certificates = Certificate::all_from_pem(pem)?;
    for certificate in &certificates {
        certificate.check_authority()?;
    }
    Ok(certificates)
}

/// The first name on the way from the issuing CA that is neither in the file nor trusted by it.
fn unrooted(certificates: &[Certificate]) -> Option<String> {
    let anchors: Vec<_> = trust(certificates).collect();
    let mut last = certificates.first()?;
    for _ in certificates {
        if anchors.contains(&last) {
            return None;
        }
        let parent = certificates.iter().find(|ca| *ca != last && last.check_issued_by(ca).is_ok());
        let Some(parent) = parent else { break };
        last = parent;
    }
    Some(last.issuer.clone()).filter(|_| !anchors.contains(&last))
}

/// An expired CA is never replaced silently; one that is due is, by its own rotation.
fn by_time(first: &Certificate, broken: impl FnOnce(String) -> Judgement) -> impl FnOnce(&Scene<'_>) -> Judgement {
    let window = Window::new(first.not_before, first.not_after);
    move |scene| {
        if scene.now >= window.until {
            return broken(format!("expired on {}", date(window.until)));
        }
        Judgement::Good(Some(window))
    }
}
