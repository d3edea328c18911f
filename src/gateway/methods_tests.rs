//! The table against its two sources.

use std::collections::BTreeSet;

use super::*;

const SERVED: &str = include_str!("../../tests/data/api-methods.txt");
const AGREED: &str = include_str!("../../tests/data/methods.tsv");

fn paths() -> BTreeSet<String> {
    METHODS.iter().map(|row| format!("/{}/{}", row.service, row.name)).collect()
}

#[test]
fn the_table_has_every_served_method_and_no_other() {
    let served: BTreeSet<String> = SERVED.lines().map(str::to_owned).collect();
    let missing: Vec<_> = served.difference(&paths()).cloned().collect();
    let unknown: Vec<_> = paths().difference(&served).cloned().collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, not served {unknown:?}");
}

#[test]
fn each_row_is_as_agreed() {
    let agreed: Vec<Vec<&str>> = AGREED.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    assert_eq!(agreed.len(), METHODS.len());
    for line in agreed {
        let path = format!("/{}/{}", line[0], line[1]);
        let row = Method::of(&path).unwrap_or_else(|| panic!("{path} has no row"));
        let allowed = |scope| row.access.allows(Scopes::from(scope));
        assert_eq!((allowed(Scope::Worker), allowed(Scope::Client)), (line[6] == "yes", line[7] == "yes"), "{path}");
        assert!(allowed(Scope::System), "{path}");
        assert_eq!(row.namespace, line[5].trim_matches('-'), "{path}");
        assert_eq!(row.wait == Wait::Always, line[4] == "always", "{path}");
    }
}

#[test]
fn what_reads_is_what_temporal_rates_so_and_the_list_that_its_web_ui_needs() {
    // Rated as reading, and yet: one has a cloud contacted, the other asks worker processes.
    const NOT: [&str; 2] = ["ValidateWorkerDeploymentVersionComputeConfig", "FetchWorkerConfig"];
    for line in AGREED.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()) {
        let row = Method::of(&format!("/{}/{}", line[0], line[1])).unwrap();
        let rated = line[3] == "ReadOnly" && !NOT.contains(&row.name);
        assert!(row.reads() == (rated || row.name == "ListNexusEndpoints") || row.service == HEALTH, "{line:?}");
    }
}

#[test]
fn rows_are_sorted_so_that_the_search_finds_each() {
    assert!(METHODS.is_sorted_by_key(|row| (row.service, row.name)));
}

#[test]
fn only_system_info_and_health_need_no_token() {
    let open: BTreeSet<_> = METHODS.iter().filter(|row| row.access == Access::Open).map(|row| row.name).collect();
    assert_eq!(open, BTreeSet::from(["Check", "GetSystemInfo", "List", "Watch"]));
}

#[test]
fn a_path_is_compared_byte_for_byte() {
    let good = "/temporal.api.workflowservice.v1.WorkflowService/ListWorkflowExecutions";
    assert!(Method::of(good).is_some());
    for bad in
        [&good[1..], &good.to_lowercase(), &format!("{good}/"), &format!("/{good}"), &format!("{good}?x"), "/", ""]
    {
        assert!(Method::of(bad).is_none(), "{bad}");
    }
}

#[test]
fn field_numbers_are_those_of_the_served_descriptors() {
    let known = include_str!("../../tests/data/request-fields.txt");
    let known: BTreeSet<&str> = known.lines().collect();
    for row in METHODS.iter() {
        let path = format!("/{}/{}", row.service, row.name);
        for name in ["namespace", "namespace_id", "id", "task_token"] {
            let number = row.field(name);
            assert!(number.is_none_or(|number| known.contains(format!("{path} {name} {number}").as_str())), "{path}");
            let prefix = format!("{path} {name} ");
            let served = known.iter().any(|line| line.starts_with(&prefix));
            // `id` is a namespace's only where it stands beside the namespace's name in the agreed table.
            assert!(name == "id" || served == number.is_some(), "{path} {name}");
        }
        let numbers = row.workflow.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        let mut workflow =
            known.iter().filter(|line| line.starts_with(&format!("{path} ")) && line.contains("workflow_id"));
        assert_eq!(workflow.next().map_or("", |line| line.rsplit(' ').next().unwrap_or("")), numbers, "{path}");
    }
}
