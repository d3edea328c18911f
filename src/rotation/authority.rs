//! Judging the CA: the warden's own in the folder, or the user's.

use super::{
    Problem,
    artefact::{CA_CERT, CA_KEY, LeafId},
    inputs::OwnCaFiles,
    judge::{Judgement, Scene, Window, date, text},
};
use crate::{
    pki::{Authority, Certificate, trust},
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

/// What is known of the CA.
pub(super) struct Found {
    pub(super) judgement: Judgement,
    pub(super) issuing: Issuing,
    pub(super) trust: Vec<Certificate>,
    pub(super) new_trust: Option<String>,
}

impl Found {
    fn only(judgement: Judgement) -> Self {
        Self { judgement, issuing: Issuing::Possible, trust: Vec::new(), new_trust: None }
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
    let issuing = match key {
        Some(key) => match Authority::load(&cert, &key) {
            Ok(_) => Issuing::Possible,
            Err(e) => return Found::only(scene.problem(CA_KEY, e, fix)),
        },
        None => Issuing::Offline { fix: format!("put the CA's key at {}", scene.at(CA_KEY).display()) },
    };
    let judgement = by_time(&certificates[0], |what| scene.problem(CA_CERT, what, fix));
    Found { judgement: judgement(scene), issuing, trust: certificates, new_trust: None }
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
    let mut issuing = Issuing::Offline { fix: "set WARDEN_CA_KEY_FILE".to_owned() };
    if let (Some(path), Some(key)) = (&own.key_file, &own.key_pem) {
        if let Err(e) = Authority::load(&own.cert_pem, key.expose()) {
            let fix = "WARDEN_CA_KEY_FILE must hold the key of the first certificate of WARDEN_CA_CERT_FILE";
            return Found::only(broken(path, e.to_string(), fix));
        }
        issuing = Issuing::Possible;
    }
    // A CA key of the warden's own beside another CA would be lost with the generations it is in.
    if let Some(key) = text(set, CA_KEY)
        && Authority::load(&own.cert_pem, &key).is_err()
    {
        let fix = "WARDEN_CA_CERT_FILE names another: move this key to a safe place first";
        return Found::only(scene.problem(CA_KEY, "is the key of the CA the warden made", fix));
    }
    let pem: String = trust(&certificates).map(Certificate::to_pem).collect();
    let new_trust = text(set, CA_CERT).is_none_or(|old| old != pem).then_some(pem);
    let judgement = by_time(&certificates[0], |what| broken(&own.cert_file, what, "renew it and start again"));
    let trust = trust(&certificates).cloned().collect();
    Found { judgement: judgement(scene), issuing, trust, new_trust }
}

fn read(pem: &str) -> Result<Vec<Certificate>, crate::pki::Error> {
    let certificates = Certificate::all_from_pem(pem)?;
    for certificate in &certificates {
        certificate.check_authority()?;
    }
    Ok(certificates)
}

/// An expired CA is never replaced silently; one that is due is, by its own rotation.
fn by_time(first: &Certificate, broken: impl FnOnce(String) -> Judgement) -> impl FnOnce(&Scene<'_>) -> Judgement {
    let window = Window { from: first.not_before, until: first.not_after };
    move |scene| {
        if scene.now >= window.until {
            return broken(format!("expired on {}", date(window.until)));
        }
        Judgement::Good(Some(window))
    }
}
