//! The policy file: what is opened beyond the table. Pure: text → rules, or everything that is wrong with it.

use std::{collections::BTreeSet, fmt::Display};

use toml::{Table, Value};

use super::{
    groups::{self, GROUPS},
    link::Rule,
};
use crate::tokens::{Scope, Scopes, Verified};

/// The keys of one `[[allow]]`.
const KEYS: [&str; 5] = ["scope", "subject", "issuer", "group", "methods"];

/// The rules of a policy file, or every error in it, each with its key.
pub fn parse(text: &str) -> Result<Vec<Rule>, Vec<String>> {
    let table: Table = text.parse().map_err(|e: toml::de::Error| vec![e.to_string().trim().to_owned()])?;
    let mut errors = Errors(Vec::new());
    for key in table.keys().filter(|key| *key != "allow") {
        errors.add(key, "is no key of a policy file; write [[allow]] tables");
    }
    let mut rules = Vec::new();
    match table.get("allow") {
        None => {}
        Some(Value::Array(entries)) => {
            for (at, entry) in entries.iter().enumerate() {
                rules.push(rule(&format!("allow[{at}]"), entry, &mut errors));
            }
        }
        Some(_) => errors.add("allow", "must be tables written as [[allow]]"),
    }
    if errors.0.is_empty() { Ok(rules) } else { Err(errors.0) }
}

/// Errors, each with the key it is about.
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, key: &str, what: impl Display) {
        self.0.push(format!("{key}: {what}"));
    }
}

fn rule(at: &str, entry: &Value, errors: &mut Errors) -> Rule {
    let mut rule = Rule::default();
    let Some(entry) = entry.as_table() else {
        errors.add(at, "must be a table");
        return rule;
    };
    for key in entry.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        errors.add(&format!("{at}.{key}"), format_args!("is no key; there are {}", KEYS.join(", ")));
    }
    rule.scope = entry.get("scope").and_then(|value| scope(&format!("{at}.scope"), value, errors));
    for (key, claim, into) in [("subject", "sub", &mut rule.subject), ("issuer", "iss", &mut rule.issuer)] {
        match entry.get(key).map(|value| value.as_str().filter(|text| !text.is_empty())) {
            None => {}
            Some(Some(text)) => *into = Some(text.to_owned()),
            Some(None) => {
                errors.add(&format!("{at}.{key}"), format_args!("must be the `{claim}` of the tokens it is for"));
            }
        }
    }
    if !entry.contains_key("scope") && !entry.contains_key("subject") {
        errors.add(at, "says for whom it is by neither scope nor subject");
    }
    for group in words(&format!("{at}.group"), entry.get("group"), errors) {
        match groups::methods(&group) {
            Some(methods) => rule.methods.extend(methods.iter().filter_map(|name| groups::openable(name))),
            None => {
                let known: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
                errors
                    .add(&format!("{at}.group"), format_args!("{group:?} is no group; there are {}", known.join(", ")));
            }
        }
    }
    for method in words(&format!("{at}.methods"), entry.get("methods"), errors) {
        match groups::openable(&method) {
            Some(method) => drop(rule.methods.insert(method)),
            None => errors.add(&format!("{at}.methods"), closed(&method)),
        }
    }
    if !entry.contains_key("group") && !entry.contains_key("methods") {
        errors.add(at, "opens nothing: it has neither group nor methods");
    }
    rule
}

fn closed(method: &str) -> String {
    match groups::is_served(method) {
        true => {
            format!("{method} is in no group, so it can't be opened: a scope allows it or it needs temporal-system")
        }
        false => format!("{method:?} is no method of the served API; an unknown one is for temporal-system only"),
    }
}

fn scope(key: &str, value: &Value, errors: &mut Errors) -> Option<String> {
    match value.as_str().map(str::parse::<Scope>) {
        Some(Ok(Scope::System)) => errors.add(key, "temporal-system may call everything already"),
        Some(Ok(scope)) => return Some(scope.as_str().to_owned()),
        Some(Err(why)) => errors.add(key, why),
        None => errors.add(key, "must be one scope as text"),
    }
    None
}

/// One word or a list of them, at least one.
fn words(key: &str, value: Option<&Value>, errors: &mut Errors) -> BTreeSet<String> {
    let words = match value {
        None => return BTreeSet::new(),
        Some(Value::String(word)) => Some([word.clone()].into()),
        Some(Value::Array(words)) => words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    match words {
        Some(words) if !BTreeSet::is_empty(&words) => words,
        _ => {
            errors.add(key, "must be a name or a list of names, not empty");
            BTreeSet::new()
        }
    }
}

impl Rule {
    /// Whether it opens the method at `path` to the bearer of `token`, of whose scopes `held` count there.
    pub(super) fn opens(&self, path: &str, token: &Verified, held: Scopes) -> bool {
        let holds = |scope: &String| Scopes::parse(scope).iter().any(|scope| held.contains(scope));
        self.methods.contains(path.trim_start_matches('/'))
            && (self.scope.is_some() || self.subject.is_some())
            && self.scope.as_ref().is_none_or(holds)
            && self.subject.as_ref().is_none_or(|subject| *subject == token.sub)
            && self.is_for_issuer(token.issuer.as_deref())
    }

    /// A subject is a name given by an issuer: without one in the rule it is the warden's. A scope means the same
    /// whoever's token holds it.
    fn is_for_issuer(&self, issuer: Option<&str>) -> bool {
        match &self.issuer {
            Some(ours) => issuer == Some(ours),
            None => issuer.is_none() || self.subject.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_methods_become_full_names() {
        let rules = parse(
            "[[allow]]\nscope = \"temporal-client\"\ngroup = \"batch\"\n\n[[allow]]\nsubject = \"temporal-ui\"\n\
             group = [\"delete\", \"cluster-read\"]\nmethods = [\"PauseActivity\"]\n",
        );
        let rules = rules.unwrap();
        let names =
            |rule: &Rule| rule.methods.iter().filter_map(|m| m.rsplit('/').next()).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&rules[0]), "StartBatchOperation StopBatchOperation");
        assert_eq!((rules[0].scope.as_deref(), rules[0].subject.as_deref()), (Some("temporal-client"), None));
        assert_eq!((rules[1].scope.as_deref(), rules[1].subject.as_deref()), (None, Some("temporal-ui")));
        let more = "DeleteActivityExecution DeleteNexusOperationExecution DeleteWorkflowExecution GetClusterInfo \
                    ListNamespaces PauseActivity";
        assert_eq!(names(&rules[1]), more);
        assert!(rules.iter().flat_map(|rule| &rule.methods).all(|m| m.starts_with("temporal.api.workflowservice.v1.")));
        assert_eq!(parse("# nothing\n"), Ok(Vec::new()));
    }

    #[test]
    fn every_error_comes_at_once_with_its_key() {
        let errors = parse(
            "deny = 1\n[[allow]]\nscope = \"temporal-admin\"\ngroup = \"bach\"\nmethods = [\"Invented\", \"RegisterNamespace\"]\n\
             [[allow]]\nscope = \"temporal-system\"\n[[allow]]\nsubject = \"\"\nmethods = []\n[[allow]]\ngroups = 1\n",
        );
        let errors = errors.unwrap_err().join("\n");
        for words in [
            "deny: is no key",
            "allow[0].scope: \"temporal-admin\" is no scope",
            "allow[0].group: \"bach\" is no group; there are activity-completion, batch",
            "allow[0].methods: \"Invented\" is no method of the served API",
            "allow[0].methods: RegisterNamespace is in no group",
            "allow[1].scope: temporal-system may call everything",
            "allow[1]: opens nothing",
            "allow[2].subject: must be",
            "allow[2].methods: must be a name",
            "allow[3].groups: is no key",
            "allow[3]: says for whom",
        ] {
            assert!(errors.contains(words), "{words}\n---\n{errors}");
        }
        assert!(parse("[[allow").unwrap_err()[0].contains("line 1"));
        assert!(parse("allow = 1").unwrap_err()[0].contains("[[allow]]"));
    }
}
