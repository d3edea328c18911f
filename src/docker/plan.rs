//! Who is told, in which order, and why each other container is not: pure.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{
    engine::Listed,
    labels::{Wish, wish},
};
use crate::{
    config::{Action, Named},
    rotation::{Change, Published},
};

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";
/// Written by Compose v2: `postgres:service_healthy:false,temporal:service_started:true`.
const DEPENDS_ON: &str = "com.docker.compose.depends_on";
const SWARM: &str = "com.docker.swarm.service.id";

/// A container that is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name: a proxy can allow names, not ids.
    pub name: String,
    /// Its compose service, where that is known.
    pub service: Option<String>,
    /// What it wants.
    pub wish: Wish,
    /// When the newest of what it wants to know was published.
    pub since: OffsetDateTime,
}

/// A container that is left alone, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Its name.
    pub name: String,
    /// Why, read after the name.
    pub why: String,
}

/// What would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub targets: Vec<Target>,
    /// Everyone else of the project, and whoever carries our label elsewhere.
    pub skips: Vec<Skip>,
    /// Labels that can't be read.
    pub warnings: Vec<String>,
    /// Made of configured names: of these it may be forbidden to know more.
    pub by_name: bool,
}

/// Decides. Without our own container among those listed there is no project to look in.
pub fn plan(listed: &[Listed], own_id: Option<&str>, published: &Published) -> Result<Plan, String> {
    let own = listed.iter().find(|c| own_id.is_some_and(|id| id == c.id));
    let own = own.ok_or("this process runs in none of the containers Docker lists, so it has no compose project")?;
    let project = own.labels.get(PROJECT).ok_or("this container belongs to no compose project")?;
    let mut plan = Plan::default();
    let mut ranks = BTreeMap::new();
    for container in listed {
        let ours = container.labels.get(PROJECT) == Some(project);
        let Some(asked) = wish(&container.labels) else {
            if ours && container.id != own.id {
                plan.skip(container, "has no label temporal-warden.on-rotation");
            }
            continue;
        };
        let wish = match asked {
            Ok(wish) => wish,
            Err(why) => {
                plan.warnings.push(format!("{} {why}", container.name));
                plan.skip(container, &why);
                continue;
            }
        };
        match excluded(container, own, ours, &wish, published) {
            Err(why) => plan.skip(container, &why),
            Ok(since) => {
                ranks.insert(container.name.clone(), depth(container, listed, project, 0));
                let service = container.labels.get(SERVICE).cloned();
                plan.targets.push(Target { name: container.name.clone(), service, wish, since });
            }
        }
    }
    plan.targets.sort_by(|a, b| {
        let key = |t: &Target| (t.wish.order, ranks.get(&t.name).copied(), t.name.clone());
        key(a).cmp(&key(b))
    });
    plan.skips.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(plan)
}

/// The plan where names are configured instead: nothing is known of the containers, so every name is a target.
pub fn by_name(named: &[Named], published: &Published) -> Plan {
    let newest = Change::ALL.into_iter().filter_map(|change| published.at(change)).max();
    let mut plan = Plan { by_name: true, ..Plan::default() };
    for (order, Named { name, action }) in (1..).zip(named) {
        let wish = Wish { action: action.clone(), changes: Change::ALL.to_vec(), order };
        match newest {
            _ if *action == Action::None => {
                plan.skips.push(Skip { name: name.clone(), why: "wants nothing (none)".to_owned() });
            }
            None => plan.skips.push(Skip { name: name.clone(), why: "nothing has changed".to_owned() }),
            Some(since) => plan.targets.push(Target { name: name.clone(), service: None, wish, since }),
        }
    }
    plan
}

impl Plan {
    fn skip(&mut self, container: &Listed, why: &str) {
        self.skips.push(Skip { name: container.name.clone(), why: why.to_owned() });
    }
}

/// Since when what it wants to know is published, or why it is left alone.
fn excluded(
    container: &Listed,
    own: &Listed,
    ours: bool,
    wish: &Wish,
    published: &Published,
) -> Result<OffsetDateTime, String> {
    let is = |key: &str| container.labels.get(key);
    if container.id == own.id {
        return Err("is this container itself".to_owned());
    }
    if !ours {
        return Err(match is(PROJECT) {
            Some(other) => format!("belongs to the compose project {other}"),
            None => "belongs to no compose project".to_owned(),
        });
    }
    if is(SWARM).is_some() {
        return Err("is a task of a Swarm service, which Swarm itself must update".to_owned());
    }
    if is(ONE_OFF).is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Err("is a one-off container (compose run)".to_owned());
    }
    if wish.action == Action::None {
        return Err("wants nothing (none)".to_owned());
    }
    if container.state != "running" {
        return Err(format!("does not run ({})", container.state));
    }
    let newest = wish.changes.iter().filter_map(|change| published.at(*change)).max();
    newest.ok_or_else(|| "is told when something it wants to know of changes; nothing has yet".to_owned())
}

/// Name of the container of `service` in our own project.
pub fn of_service(listed: &[Listed], own_id: Option<&str>, service: &str) -> Option<String> {
    let own = listed.iter().find(|container| own_id.is_some_and(|id| id == container.id))?;
    let project = own.labels.get(PROJECT)?;
    let is = |container: &&Listed| {
        container.labels.get(PROJECT) == Some(project)
            && container.labels.get(SERVICE).is_some_and(|name| name == service)
    };
    listed.iter().find(is).map(|container| container.name.clone())
}

/// How many dependencies stand before it: what others depend on comes first. A circle ends at the length of the list.
fn depth(container: &Listed, listed: &[Listed], project: &str, met: usize) -> usize {
    let Some(text) = container.labels.get(DEPENDS_ON).filter(|_| met < listed.len()) else { return met };
    let of_service = |service: &str| {
        listed.iter().find(|c| {
            c.labels.get(PROJECT).is_some_and(|p| p == project) && c.labels.get(SERVICE).is_some_and(|s| s == service)
        })
    };
    let below = text.split(',').filter_map(|entry| of_service(entry.split(':').next()?.trim()));
    below.map(|dependency| depth(dependency, listed, project, met + 1)).max().unwrap_or(met)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::rotation::Change;

    const AT: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn container(name: &str, labels: &[(&str, &str)]) -> Listed {
        let own = [(PROJECT, "p"), (SERVICE, name)];
        let labels = own.iter().chain(labels);
        Listed {
            id: format!("{name:f<64}"),
            name: name.to_owned(),
            labels: labels.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            state: "running".to_owned(),
            addresses: Vec::new(),
            mounts: Vec::new(),
        }
    }

    fn dependent(name: &str, action: &str, more: &[(&str, &str)]) -> Listed {
        let mut labels = vec![("temporal-warden.on-rotation", action)];
        labels.extend(more);
        container(name, &labels)
    }

    fn published(changes: &[(Change, OffsetDateTime)]) -> Published {
        let mut published = Published::default();
        changes.iter().for_each(|(change, at)| published.note(*change, *at));
        published
    }

    fn all(listed: &[Listed], published: &Published) -> Plan {
        plan(listed, Some(&container("warden", &[]).id), published).unwrap()
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.targets.iter().map(|t| t.name.as_str()).collect()
    }

    #[test]
    fn only_running_labelled_containers_of_the_own_project_are_told_and_each_other_has_its_reason() {
        let mut stopped = dependent("stopped", "restart", &[]);
        stopped.state = "exited".to_owned();
        let mut foreign = dependent("foreign", "restart", &[]);
        foreign.labels.insert(PROJECT.to_owned(), "q".to_owned());
        let listed = [
            dependent("warden", "restart", &[]),
            dependent("app", "restart", &[]),
            dependent("quiet", "none", &[]),
            dependent("once", "restart", &[(ONE_OFF, "True")]),
            dependent("misspelt", "reboot", &[]),
            dependent("swarm", "restart", &[(SWARM, "x")]),
            dependent("tokens-only", "restart", &[("temporal-warden.events", "tokens")]),
            container("plain", &[]),
            stopped,
            foreign,
        ];
        let plan = all(&listed, &published(&[(Change::Certs, AT)]));
        assert_eq!(names(&plan), ["app"]);
        let why: BTreeMap<_, _> = plan.skips.iter().map(|s| (s.name.as_str(), s.why.as_str())).collect();
        for (name, word) in [
            ("warden", "is this container itself"),
            ("quiet", "wants nothing (none)"),
            ("once", "is a one-off container (compose run)"),
            ("misspelt", "reboot"),
            ("swarm", "is a task of a Swarm service, which Swarm itself must update"),
            ("tokens-only", "is told when something it wants to know of changes; nothing has yet"),
            ("plain", "no label"),
            ("stopped", "does not run (exited)"),
            ("foreign", "project q"),
        ] {
            assert!(why[name].contains(word), "{name}: {}", why[name]);
        }
        assert_eq!(plan.warnings.len(), 1);
    }

    #[test]
    fn the_order_is_the_number_then_what_others_depend_on_then_the_name() {
        let on = |names: &'static str| [(DEPENDS_ON, names)];
        let listed = [
            container("warden", &[]),
            dependent("a", "restart", &on("c:service_healthy:false,warden:service_started:true")),
            dependent("b", "restart", &[]),
            dependent("c", "restart", &[]),
            dependent("z", "restart", &[("temporal-warden.order", "10")]),
        ];
        assert_eq!(names(&all(&listed, &published(&[(Change::Ca, AT)]))), ["z", "b", "c", "a"]);
        let circle = [
            container("warden", &[]),
            dependent("a", "restart", &on("b:x:y")),
            dependent("b", "restart", &on("a:x:y")),
        ];
        assert_eq!(all(&circle, &published(&[(Change::Ca, AT)])).targets.len(), 2);
    }

    #[test]
    fn several_changes_are_one_action_by_the_newest_of_them() {
        let later = AT + time::Duration::minutes(1);
        let listed = [container("warden", &[]), dependent("app", "restart", &[])];
        let plan = all(&listed, &published(&[(Change::Certs, AT), (Change::Tokens, later), (Change::Ca, AT)]));
        assert_eq!(plan.targets.iter().map(|t| t.since).collect::<Vec<_>>(), [later]);
    }

    #[test]
    fn without_a_container_of_our_own_nobody_is_touched() {
        let listed = [dependent("app", "restart", &[])];
        for own in [None, Some("ffff")] {
            let why = plan(&listed, own, &published(&[(Change::Certs, AT)])).unwrap_err();
            assert!(why.starts_with("this process runs in none of the containers Docker lists"), "{why}");
        }
        let alone = Listed { labels: BTreeMap::new(), ..container("warden", &[]) };
        let why = plan(std::slice::from_ref(&alone), Some(&alone.id), &Published::default()).unwrap_err();
        assert_eq!(why, "this container belongs to no compose project");
    }

    #[test]
    fn configured_names_are_told_in_their_order_once_something_was_replaced() {
        let named: Vec<Named> = ["db=signal:SIGHUP", "app", "idle=none"].map(|text| text.parse().unwrap()).into();
        assert!(by_name(&named, &Published::default()).targets.is_empty());
        let plan = by_name(&named, &published(&[(Change::Certs, AT)]));
        assert_eq!(names(&plan), ["db", "app"]);
        assert!(plan.by_name && plan.skips[0].name == "idle");
    }
}
