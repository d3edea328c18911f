//! Certificates that somebody else signed: checked whole, every refusal by its file, then they take their place.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Error, Event, Problem,
    artefact::{CA_CERT, LeafId, file},
    authority,
    judge::{Scene, date, text},
    leafs::lacking_sans,
    overlap::certificates,
};
use crate::{
    pki::{Certificate, Key, Purpose, verify},
    store::Set,
};

/// Longest chain that is followed from a leaf to what is trusted.
const LONGEST: usize = 8;

/// A file somebody gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Its name, for messages.
    pub name: String,
    /// Its content: certificates as PEM, leafs and intermediates in any order.
    pub pem: String,
}

/// What somebody gives to be installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Leafs and the intermediates between them and the CA.
    pub certificates: Vec<Signed>,
    /// CA certificates to trust beside those that are trusted.
    pub trust: Vec<Signed>,
}

/// For the audit log.
impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.certificates.iter().chain(&self.trust).map(|file| file.name.as_str()).collect();
        write!(f, "{}; ", names.join(", "))
    }
}

/// What became of it.
pub(super) struct Accepted {
    pub(super) set: Set,
    pub(super) events: Vec<Event>,
    /// Files of the set that are other ones now.
    pub(super) replaced: BTreeSet<&'static str>,
}

/// Checks everything that is given against the keys, the CA and the settings, and puts it into the set. Either all of
/// it, or everything that is wrong with it.
pub(super) fn accept(set: &Set, given: &Installation, scene: &Scene<'_>) -> Result<Accepted, Error> {
    let mut accepted = Accepted { set: set.clone(), events: Vec::new(), replaced: BTreeSet::new() };
    let mut problems = Vec::new();
    accepted.trust(given, scene, &mut problems);
    let (leafs, mut between) = sort(&given.certificates, set, &mut problems);
    let trust = authority::judge(&accepted.set, scene).trust;
    between.extend(scene.own_ca.and_then(|own| Certificate::all_from_pem(&own.cert_pem).ok()).unwrap_or_default());
    for leaf in &leafs {
        let earlier = leafs.iter().take_while(|other| !std::ptr::eq(*other, leaf)).any(|other| other.id == leaf.id);
        let chain = match earlier {
            true => Err(leaf.problem("is a second certificate for the same key", "give one of them")),
            false => leaf.check(&between, &trust, scene),
        };
        match chain {
            Ok(chain) => accepted.put(leaf, &chain),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() && leafs.is_empty() && given.trust.is_empty() {
        let path = given.certificates.first().map_or_else(PathBuf::new, |file| PathBuf::from(&file.name));
        problems.push(problem(path, "holds no certificate of a leaf", "give what the CA made of `cert csr`"));
    }
    if problems.is_empty() { Ok(accepted) } else { Err(Error::Refused(problems)) }
}

impl Accepted {
    fn insert(&mut self, path: &'static str, text: &str) {
        self.set.insert(path.to_owned(), file(path, text));
    }

    fn put(&mut self, leaf: &Leaf, chain: &[Certificate]) {
        self.set.remove(leaf.id.requested_key());
        let pem: String = chain.iter().map(Certificate::to_pem).collect();
        let old = text(&self.set, leaf.id.cert()).map(|text| text.into_owned());
        if old.as_ref() == Some(&pem) {
            let (name, what) = (leaf.id.cert().to_owned(), "it is in place already".to_owned());
            return self.events.push(Event::Installed { name, what });
        }
        self.insert(leaf.id.cert(), &pem);
        self.insert(leaf.id.key(), &leaf.key_pem);
        // What was made for the first time was held by nobody.
        if old.is_some() {
            self.replaced.insert(leaf.id.cert());
        }
        self.events.extend(warnings(leaf).map(Event::Warning));
        let (issuer, until) = (leaf.certificate.issuer.clone(), date(leaf.certificate.not_after));
        self.events.push(Event::Installed {
            name: leaf.id.cert().to_owned(),
            what: format!("signed by {issuer}, until {until}"),
        });
    }

    /// CA certificates that are trusted from now on, behind those that are.
    fn trust(&mut self, given: &Installation, scene: &Scene<'_>, problems: &mut Vec<Problem>) {
        for file in &given.trust {
            let path = PathBuf::from(&file.name);
            if scene.own_ca.is_some() {
                let fix = "put it into the file WARDEN_CA_CERT_FILE names, and start again";
                problems.push(problem(path, "can't be trusted beside a CA of your own", fix));
                continue;
            }
            if certificates(&self.set, CA_CERT).is_empty() {
                let fix = "make one first with `temporal-warden init`";
                problems.push(problem(path, "can't be trusted beside a CA that is not there yet", fix));
                continue;
            }
            match trusted(&file.pem, scene) {
                Ok(wanted) => self.trust_these(&wanted),
                Err(what) => problems.push(problem(path, what, "give valid self-signed CA certificates as PEM")),
            }
        }
    }

    fn trust_these(&mut self, wanted: &[Certificate]) {
        for ca in wanted {
            if certificates(&self.set, CA_CERT).contains(ca) {
                continue;
            }
            let all = certificates(&self.set, CA_CERT).into_iter().chain([ca.clone()]);
            self.insert(CA_CERT, &all.map(|ca| ca.to_pem()).collect::<String>());
            self.replaced.insert(CA_CERT);
            let what = format!("trusts {} too, until {}", ca.subject, date(ca.not_after));
            self.events.push(Event::Installed { name: CA_CERT.to_owned(), what });
        }
    }
}

fn trusted(pem: &str, scene: &Scene<'_>) -> Result<Vec<Certificate>, String> {
    let found = Certificate::all_from_pem(pem).map_err(|e| e.to_string())?;
    for ca in &found {
        ca.check_authority().map_err(|e| e.to_string())?;
        if !ca.is_self_issued() {
            return Err(format!("is signed by {}, so it is no root: {}", ca.issuer, ca.subject));
        }
        if scene.now < ca.not_before || ca.not_after <= scene.now {
            return Err(format!("is valid from {} to {}: {}", date(ca.not_before), date(ca.not_after), ca.subject));
        }
    }
    Ok(found)
}

/// One leaf and whose it is.
struct Leaf {
    file: PathBuf,
    id: LeafId,
    key_pem: Zeroizing<String>,
    certificate: Certificate,
}

/// Leafs by the key they belong to, and the CA certificates given with them.
fn sort(given: &[Signed], set: &Set, problems: &mut Vec<Problem>) -> (Vec<Leaf>, Vec<Certificate>) {
    let (mut leafs, mut between) = (Vec::new(), Vec::new());
    for file in given {
        let path = PathBuf::from(&file.name);
        if file.pem.contains("PRIVATE KEY-----") {
            let fix = "the keys are in the warden's folder already: give certificates only, and make a new request (`cert csr --new-keys`) if a key left it";
            problems.push(problem(path, "holds a private key", fix));
            continue;
        }
        let found = match Certificate::all_from_pem(&file.pem) {
            Ok(found) => found,
            Err(e) => {
                let fix = "give certificates as PEM (`openssl x509 -inform der`, `openssl pkcs7 -print_certs` convert)";
                problems.push(problem(path, e, fix));
                continue;
            }
        };
        for certificate in found {
            match (owner(&certificate, set), certificate.is_ca) {
                (Some((id, key_pem)), _) => leafs.push(Leaf { file: path.clone(), id, key_pem, certificate }),
                (None, true) => between.push(certificate),
                (None, false) => problems.push(stranger(&path, &certificate)),
            }
        }
    }
    (leafs, between)
}

fn stranger(path: &std::path::Path, certificate: &Certificate) -> Problem {
    let what = format!(
        "holds the certificate {} (serial {}) for a key that is not in the warden's folder",
        certificate.subject, certificate.serial
    );
    problem(path.to_owned(), what, "make a request with `temporal-warden cert csr` and have that one signed")
}

/// Whose key it is for: that of a request under way, or one in use.
fn owner(certificate: &Certificate, set: &Set) -> Option<(LeafId, Zeroizing<String>)> {
    LeafId::ALL.into_iter().find_map(|id| {
        [id.requested_key(), id.key()].into_iter().find_map(|path| {
            let pem = Zeroizing::new(text(set, path)?.into_owned());
            let key = Key::from_pem(&pem).ok()?;
            certificate.check_key(&key).is_ok().then_some((id, pem))
        })
    })
}

impl Leaf {
    fn problem(&self, what: impl ToString, fix: impl Into<String>) -> Problem {
        let what = format!("({}) {}", self.id.cert(), what.to_string());
        problem(self.file.clone(), what, fix)
    }

    /// The chain to serve, or what is wrong.
    fn check(
        &self,
        between: &[Certificate],
        trust: &[Certificate],
        scene: &Scene<'_>,
    ) -> Result<Vec<Certificate>, Problem> {
        let leaf = &self.certificate;
        if leaf.is_ca {
            return Err(self.problem("is a CA certificate", "have it signed as a leaf (CA:FALSE)"));
        }
        if scene.now < leaf.not_before || leaf.not_after <= scene.now {
            let what = format!(
                "is valid from {} to {}, and it is {}",
                date(leaf.not_before),
                date(leaf.not_after),
                date(scene.now)
            );
            return Err(self.problem(what, "have it signed for now, or set the clock right"));
        }
        if let Some(what) = self.lacks_names(scene) {
            return Err(self.problem(what, "have it signed with the subject and the names (SAN) of the request"));
        }
        self.check_use()?;
        let chain = self.chain(between, trust)?;
        let fix = "have it signed by the CA that is trusted, with SHA-256 or better";
        verify(&chain, trust, self.id.purpose(), scene.now).map_err(|e| self.problem(e, fix))?;
        Ok(chain)
    }

    fn lacks_names(&self, scene: &Scene<'_>) -> Option<String> {
        if let Some(wanted) = self.id.client_name() {
            let held = self.certificate.common_name.as_deref();
            return (held != Some(wanted))
                .then(|| format!("is the certificate of {}, not of {wanted}", held.unwrap_or("no common name")));
        }
        lacking_sans(self.id, &self.certificate, scene)
    }

    fn check_use(&self) -> Result<(), Problem> {
        let (wanted, held) = match self.id.purpose() {
            Purpose::Server => ("serverAuth", self.certificate.server_auth),
            Purpose::Client => ("clientAuth", self.certificate.client_auth),
        };
        let fix =
            format!("have it signed with extendedKeyUsage {wanted} and keyUsage digitalSignature, as the request asks");
        if !held {
            return Err(self.problem(format!("may not be used for {wanted} (extendedKeyUsage)"), fix));
        }
        if !self.certificate.may_sign_handshakes() {
            return Err(self.problem("has a keyUsage without digitalSignature", fix));
        }
        Ok(())
    }

    /// The leaf and what is between it and a trusted one, in order.
    fn chain(&self, between: &[Certificate], trust: &[Certificate]) -> Result<Vec<Certificate>, Problem> {
        if trust.is_empty() {
            let fix = "set WARDEN_CA_CERT_FILE to the CA that signed it";
            return Err(self.problem("can't be checked: there is no CA yet", fix));
        }
        let mut chain = vec![self.certificate.clone()];
        while chain.len() <= LONGEST {
            let last = &chain[chain.len() - 1];
            if let Some(anchor) = trust.iter().find(|anchor| last.check_issued_by(anchor).is_ok()) {
                // Readers may trust what is above an intermediate: as where the warden issues, it is served.
                chain.extend(Some(anchor.clone()).filter(|anchor| !anchor.is_self_issued()));
                return Ok(chain);
            }
            let next = between.iter().find(|ca| !ca.is_self_issued() && last.check_issued_by(ca).is_ok());
            let Some(next) = next else { break };
            chain.push(next.clone());
        }
        let trusted: Vec<_> = trust.iter().map(|ca| ca.subject.as_str()).collect();
        let what =
            format!("leads to {}, which is not trusted ({} is)", chain[chain.len() - 1].issuer, trusted.join(", "));
        let fix = "give the intermediate certificates too, or set WARDEN_CA_CERT_FILE to the CA that signed it";
        Err(self.problem(what, fix))
    }
}

/// What is good enough for the warden and will not be for somebody else.
fn warnings(leaf: &Leaf) -> impl Iterator<Item = String> {
    let (name, certificate) = (leaf.id.cert(), &leaf.certificate);
    let both = leaf.id.purpose() == Purpose::Client && certificate.server_auth;
    let poses =
        format!("{name} may be used for serverAuth too: whoever holds its key can pose as a server of its names");
    let strict = format!("{name} has no authority key identifier: strict verifiers (Python 3.13) refuse it");
    [(both, poses), (certificate.aki.is_none(), strict)].into_iter().filter(|(on, _)| *on).map(|(_, text)| text)
}

fn problem(path: PathBuf, what: impl ToString, fix: impl Into<String>) -> Problem {
    Problem { path, what: what.to_string(), fix: fix.into() }
}
