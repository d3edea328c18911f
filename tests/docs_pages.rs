//! What the pages show is produced by a test, and what they tell a user to run is run by one.

mod pages;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use pages::{Block, all_blocks, commands, pages, read};

/// Where each command of a page is run, a line each: page, command, by whom. `tests/e2e/test_00_docs.py` reads it too.
const COMMANDS: &str = "tests/data/doc-commands.tsv";
/// What is no output: to be copied, or the settings of something.
const LANGUAGES: [&str; 8] = ["bash", "yaml", "toml", "json", "python", "conf", "go", "typescript"];
/// The user's own page; it has three drawings and no output (tests/e2e/test_01_guide.py follows it section by section).
const GUIDE: &str = "docs/guide.md";
const TRANSCRIPTS: [&str; 2] = ["transcript(\"", "transcript_but_for_what_varies(\""];

#[test]
fn every_block_that_is_no_command_and_no_setting_is_a_transcript_or_a_drawing() {
    let blocks = all_blocks();
    assert!(blocks.len() > 20, "{} blocks found: the reading no longer fits the pages", blocks.len());
    let wrong: Vec<String> = blocks.iter().filter(|block| !is_accounted_for(block)).map(Block::place).collect();
    assert!(
        wrong.is_empty(),
        "give each its language, or `console` and above it <!-- transcript: NAME --> with a test that calls \
         transcript(\"NAME\", …), or `text` and <!-- drawing -->:\n{}",
        wrong.join("\n")
    );
}

fn is_accounted_for(block: &Block) -> bool {
    match block.language.as_str() {
        "console" => block.transcript().is_some(),
        "text" => block.marker.as_deref() == Some("drawing"),
        "" => block.page == GUIDE,
        language => LANGUAGES.contains(&language),
    }
}

#[test]
fn every_transcript_is_produced_by_a_test_and_every_such_test_has_its_block() {
    let blocks = all_blocks();
    let mut shown: Vec<&str> = blocks.iter().filter_map(Block::transcript).collect();
    shown.sort_unstable();
    let produced: BTreeSet<String> = sources().iter().flat_map(|source| names(source)).collect();
    let produced: Vec<&str> = produced.iter().map(String::as_str).collect();
    assert_eq!(shown, produced, "left: on the pages, right: in tests/*.rs and tests/e2e/*.py");
}

fn sources() -> Vec<String> {
    let folders = ["tests", "tests/e2e"].map(|folder| fs::read_dir(folder).unwrap());
    let paths = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let kinds = |path: &Path| path.extension().is_some_and(|kind| kind == "rs" || kind == "py");
    let this = Path::new("tests/docs_pages.rs");
    let wanted = paths.filter(|path| kinds(path) && path != this);
    wanted.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The first argument of each call, also when it stands on the next line.
fn names(source: &str) -> Vec<String> {
    let calls = TRANSCRIPTS.iter().flat_map(|call| source.split(call).skip(1));
    calls.filter_map(|rest| rest.split_once('"')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_command_of_the_pages_is_run_by_a_test_or_it_is_said_why_not() {
    let table = read(COMMANDS);
    let mut listed = BTreeMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let [page, command, by] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{COMMANDS}: {line:?}") };
        assert!(listed.insert((page.to_owned(), command.to_owned()), by).is_none(), "{COMMANDS} has twice: {line}");
        if let Err(why) = is_true(by) {
            panic!("{COMMANDS}: {command}: {why}");
        }
    }
    let found = on_pages();
    assert!(found.len() > 50, "{} commands found: the reading no longer fits the pages", found.len());
    let lines =
        |keys: Vec<&(String, String)>| -> String { keys.iter().map(|(p, c)| format!("{p}\t{c}\t…\n")).collect() };
    let missing = lines(found.iter().filter(|key| !listed.contains_key(*key)).collect());
    let stale = lines(listed.keys().filter(|key| !found.contains(*key)).collect());
    assert!(missing.is_empty(), "add to {COMMANDS}, with who runs it in the place of …:\n{missing}");
    assert!(stale.is_empty(), "{COMMANDS} has what no page has any more:\n{stale}");
}

/// Each command of a `bash` block, and those that README.md gives within its text.
fn on_pages() -> BTreeSet<(String, String)> {
    let of_blocks = |page: &String| -> Vec<String> {
        let blocks = pages::blocks(page);
        let commands = blocks.iter().filter(|block| block.language == "bash").flat_map(|block| commands(&block.text));
        commands.filter(|command| page != GUIDE || !is_data(command)).collect()
    };
    let mut found: BTreeSet<_> = pages()
        .iter()
        .flat_map(|page| of_blocks(page).into_iter().map(move |command| (page.clone(), command)))
        .collect();
    found.extend(in_text(&read("README.md")).into_iter().map(|command| ("README.md".to_owned(), command)));
    found
}

/// The guide's `bash` blocks hold names of files and variables too.
fn is_data(line: &str) -> bool {
    ["/etc/temporal/certs/", "├", "└", "TEMPORAL_"].iter().any(|start| line.starts_with(start))
}

const PROGRAMS: [&str; 7] =
    ["docker ", "docker-compose ", "temporal ", "temporal-warden ", "curl ", "… /usr/local/bin/", "./scripts/"];

/// What stands between backticks and begins with the name of a program.
fn in_text(page: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        let spans = line.split('`').skip(1).step_by(2);
        let wanted = spans.filter(|span| !fenced && PROGRAMS.iter().any(|program| span.starts_with(program)));
        found.extend(wanted.map(|span| span.replace("\\|", "|")));
    }
    found
}

/// `FILE NAME` names a test there is; `stack` is run by test_00_docs.py; the rest gives a reason.
fn is_true(by: &str) -> Result<(), String> {
    if by == "stack" || by.starts_with("not run: ") || by.starts_with("no command: ") {
        return Ok(());
    }
    let (file, name) =
        by.split_once(' ').ok_or_else(|| format!("{by:?} is neither `stack`, a reason nor FILE NAME"))?;
    let source = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let there =
        [format!("fn {name}("), format!("def {name}("), format!("{name}()")].iter().any(|head| source.contains(head));
    if there { Ok(()) } else { Err(format!("{file} has no {name}")) }
}

#[test]
fn every_picture_on_a_page_is_there_and_every_picture_is_on_a_page() {
    let shown: BTreeSet<String> = pages().iter().flat_map(|page| pictures(page)).collect();
    let there: BTreeSet<String> = fs::read_dir("docs/images")
        .unwrap()
        .map(|entry| entry.unwrap())
        .inspect(|entry| assert!(entry.metadata().unwrap().len() < 200_000, "{:?} is too large", entry.path()))
        .map(|entry| entry.path().display().to_string())
        .collect();
    assert_eq!(shown, there, "left: on the pages, right: in docs/images");
}

/// The pictures of a page, by their path from the root.
fn pictures(page: &str) -> Vec<String> {
    let images = links(&read(page))
        .into_iter()
        .filter_map(|link| link.split_once("images/").map(|(_, name)| format!("docs/images/{name}")));
    images.collect()
}

#[test]
fn every_link_within_the_pages_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let folder = Path::new(&page).parent().unwrap();
        for link in links(&read(&page)).into_iter().filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let path = if file.is_empty() { Path::new(&page).to_owned() } else { folder.join(file) };
            let there = path.exists() && (heading.is_empty() || headings(&path).contains(heading));
            if !there {
                wrong.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn links(text: &str) -> Vec<String> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link.to_owned()).collect()
}

/// The anchors of a page, as GitHub makes them.
fn headings(page: &Path) -> BTreeSet<String> {
    let anchor = |title: &str| -> String {
        let kept = title
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .collect::<String>();
        kept.trim().replace(' ', "-")
    };
    let text = fs::read_to_string(page).unwrap();
    text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn comments_and_line_ends_are_no_part_of_a_command() {
    let block = "# first\na \\\n  --b   # why\nc 'x\n# y' d\n";
    assert_eq!(commands(block), ["a --b", "c 'x # y' d"]);
}

#[test]
fn what_varies_is_masked_and_nothing_else() {
    let text = "ca.key      89d 23h left (2027-02-23)  0190d0f2-7d0e-7cc3-9d0a-000000000000 good\n";
    assert_eq!(pages::masked(text), "ca.key  0d 0h left (0-0-0)  X good\n");
}
