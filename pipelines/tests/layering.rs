//! The house keeps its floors: what `cargo metadata` says of the workspace is what `docs/architecture.md` says.
//!
//! Both tables are read from the page's Markdown, so that page and manifests cannot drift apart.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// One row of the crate table.
struct Room {
    /// `None` for a crate that stands beside the house.
    floor: Option<u32>,
    folder: String,
    may_import: BTreeSet<String>,
}

/// One dependency of one package, by name.
struct Edge {
    from: String,
    to: String,
    only_in_tests: bool,
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/architecture.md")).unwrap()
}

/// The cells of the table that follows `<!-- layering: NAME -->`, without its two heading lines.
fn table(page: &str, name: &str) -> Vec<Vec<String>> {
    let marker = format!("<!-- layering: {name} -->");
    let after = page.split_once(&marker).unwrap_or_else(|| panic!("the page must have {marker}")).1;
    let rows = after.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn names(cell: &str) -> BTreeSet<String> {
    cell.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Package name to room.
fn rooms(page: &str) -> BTreeMap<String, Room> {
    let mut rooms = BTreeMap::new();
    for cells in table(page, "crates") {
        let [floor, house, _, may_import] = cells.as_slice() else { panic!("four cells wanted, got {cells:?}") };
        let (folder, package) = house.split_once("` (").unwrap();
        let folder = folder.trim_matches(['`', '/']).to_owned();
        let package = package.trim_end_matches(')').to_owned();
        let may_import = if may_import == "nothing of ours" { BTreeSet::new() } else { names(may_import) };
        rooms.insert(package, Room { floor: floor.parse().ok(), folder, may_import });
    }
    rooms
}

/// The workspace's packages with their folders, and every dependency of theirs.
fn workspace() -> (BTreeMap<String, String>, Vec<Edge>) {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (mut folders, mut edges) = (BTreeMap::new(), Vec::new());
    for package in metadata["packages"].as_array().unwrap() {
        let from = package["name"].as_str().unwrap().to_owned();
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        folders.insert(from.clone(), folder.file_name().unwrap().to_str().unwrap().to_owned());
        for dependency in package["dependencies"].as_array().unwrap() {
            edges.push(Edge {
                from: from.clone(),
                to: dependency["name"].as_str().unwrap().to_owned(),
                // A build dependency runs on every build, so it counts as a normal one.
                only_in_tests: dependency["kind"] == "dev",
            });
        }
    }
    (folders, edges)
}

#[test]
fn the_table_names_every_crate_and_only_those() {
    let table: BTreeMap<String, String> =
        rooms(&page()).into_iter().map(|(package, room)| (package, room.folder)).collect();
    assert_eq!(table, workspace().0);
}

#[test]
fn in_the_table_an_arrow_only_points_down() {
    let rooms = rooms(&page());
    let floors: BTreeMap<&str, Option<u32>> = rooms.values().map(|r| (r.folder.as_str(), r.floor)).collect();
    for room in rooms.values() {
        for below in &room.may_import {
            let floor = floors.get(below.as_str()).unwrap_or_else(|| panic!("{below} is no crate of the table"));
            // What stands beside the house may be used by the top floor, and may use the ground floor.
            let points_down = match (room.floor, floor) {
                (Some(from), Some(to)) => to < &from,
                (Some(from), None) => Some(from) == floors.values().copied().max().flatten(),
                (None, to) => *to == Some(0),
            };
            assert!(points_down, "{} may not import {below}: that arrow does not point down", room.folder);
        }
    }
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let rooms = rooms(&page());
    for edge in workspace().1 {
        let Some(to) = rooms.get(&edge.to) else { continue };
        let from = &rooms[&edge.from];
        let allowed = from.may_import.contains(&to.folder) || (edge.only_in_tests && to.folder == "testkit");
        assert!(allowed, "{} imports {}, which docs/architecture.md does not allow", from.folder, to.folder);
    }
}

#[test]
fn what_has_an_owner_is_linked_only_there() {
    let page = page();
    let folders = workspace().0;
    let mut owned = BTreeMap::new();
    for cells in table(&page, "owners") {
        let [_, crates, linked_by, in_tests_of] = cells.as_slice() else { panic!("four cells wanted, got {cells:?}") };
        for name in names(crates) {
            owned.insert(name, (names(linked_by), names(in_tests_of)));
        }
    }
    let mut seen = BTreeSet::new();
    for edge in workspace().1 {
        let Some((linked_by, in_tests_of)) = owned.get(&edge.to) else { continue };
        let folder = &folders[&edge.from];
        let allowed = linked_by.contains(folder) || (edge.only_in_tests && in_tests_of.contains(folder));
        assert!(allowed, "{folder} uses {}, which docs/architecture.md gives to {linked_by:?}", edge.to);
        seen.insert(edge.to);
    }
    let unused: Vec<&String> = owned.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(unused.is_empty(), "the table names crates that nothing uses: {unused:?}");
}
