//! The table in `docs/missing-data.md` and the tests here are the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The last cell of each row, without its quotes.
fn named(table: &str) -> Vec<String> {
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let name =
        |row: &str| row.trim_end_matches('|').rsplit('|').next().map(|cell| cell.trim().trim_matches('`').to_owned());
    rows.filter_map(name).filter(|name| name.contains('_')).collect()
}

fn tests_here() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/missing");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for (line, next) in text.lines().zip(text.lines().skip(1)) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                let name = next.trim_start_matches("async ").trim_start_matches("fn ");
                names.insert(name.split('(').next().unwrap().to_owned());
            }
        }
    }
    names
}

#[test]
fn every_row_of_the_table_names_a_test_and_every_test_has_a_row() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/missing-data.md");
    let rows = named(&fs::read_to_string(page).unwrap());
    let named: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(named.len(), rows.len(), "a test stands for one row");
    assert!(rows.len() >= 30, "{} rows", rows.len());
    let mut tests = tests_here();
    tests.remove("every_row_of_the_table_names_a_test_and_every_test_has_a_row");
    assert_eq!(named, tests);
}
