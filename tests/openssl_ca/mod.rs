//! A CA as a company has one: root and intermediate made, and requests signed, by the real openssl.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const LEAF: &str = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
                         subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

pub struct Ca {
    folder: PathBuf,
}

pub fn openssl(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new("openssl").args(arguments).output().expect("openssl");
    let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(status.success(), "openssl {arguments:?}: {text}");
    text
}

impl Ca {
    /// A root, and an intermediate under it that signs.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let ca = Self { folder: folder.to_owned() };
        ca.write("leaf.cnf", LEAF);
        ca.write("ca.cnf", AUTHORITY);
        for (name, subject) in
            [("root", "/C=CH/O=Example & Sons/CN=Example Root"), ("sub", "/O=Example/CN=Example Issuing")]
        {
            openssl(&[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
                &ca.at(&format!("{name}.key")),
            ]);
            let (key, out) = (ca.at(&format!("{name}.key")), ca.at(&format!("{name}.csr")));
            openssl(&["req", "-new", "-key", &key, "-subj", subject, "-out", &out]);
        }
        let (key, csr, root, conf) = (ca.at("root.key"), ca.at("root.csr"), ca.at("root.crt"), ca.at("ca.cnf"));
        openssl(&["x509", "-req", "-in", &csr, "-signkey", &key, "-days", "900", "-extfile", &conf, "-out", &root]);
        let (csr, sub) = (ca.at("sub.csr"), ca.at("sub.crt"));
        openssl(&[
            "x509", "-req", "-in", &csr, "-CA", &root, "-CAkey", &key, "-days", "800", "-extfile", &conf, "-out", &sub,
        ]);
        ca.write("chain.crt", &(ca.read("sub.crt") + &ca.read("root.crt")));
        ca
    }

    pub fn at(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    /// Signs a request as it asks; `more` are further arguments of `openssl x509`. The path of the certificate.
    pub fn sign(&self, csr: &Path, more: &[&str]) -> String {
        let out = self.at(&format!("{}.crt", csr.file_stem().unwrap().to_str().unwrap()));
        let (sub, key, conf) = (self.at("sub.crt"), self.at("sub.key"), self.at("leaf.cnf"));
        let mut words = vec!["x509", "-req", "-in", csr.to_str().unwrap(), "-out", &out];
        if !more.contains(&"-CA") {
            words.extend(["-CA", &sub, "-CAkey", &key]);
        }
        if !more.contains(&"-extfile") {
            words.extend(["-copy_extensions", "copyall", "-extfile", &conf]);
        }
        if !more.contains(&"-days") {
            words.extend(["-days", "30"]);
        }
        words.extend(more);
        openssl(&words);
        out
    }
}
