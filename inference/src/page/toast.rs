//! What was just done, with the way to undo it. Comes with the page that a form leads back to (`?labelled=ID`), so that
//! it is there without the script, too.

use super::filter::Query;
use super::labels::LabelBook;
use crate::app::AppState;
use crate::error::AppError;

/// Labels that a URL may name: as many as a page has to choose from, and a URL has room for.
const MOST: usize = 64;

/// What was just done to labels.
pub(super) struct Toast {
    pub(super) text: String,
    /// Their ids, with commas.
    pub(super) ids: String,
    /// What undoes it: `unlabel`, or `relabel` where they were taken back.
    pub(super) action: &'static str,
    pub(super) button: &'static str,
    pub(super) done: &'static str,
    /// Where undoing leads.
    pub(super) back: String,
}

impl Toast {
    /// `None` where nothing was labelled or taken back, or it is as it was again.
    pub(super) async fn of(
        app: &AppState,
        query: &Query,
        book: &LabelBook,
        back: &str,
    ) -> Result<Option<Self>, AppError> {
        let back = back.to_owned();
        if let Some(ids) = query.get("labelled") {
            let given: Vec<_> = list(ids).filter_map(|id| book.find(id)).collect();
            let Some(first) = given.first() else { return Ok(None) };
            let text = match given.len() {
                1 => format!("{} stored for {}.", first.verdict, first.subject),
                n => format!("{} stored for {n}.", first.verdict),
            };
            let ids = given.iter().map(|label| label.id.as_str()).collect::<Vec<_>>().join(",");
            let toast = Self { text, ids, action: "unlabel", button: "Undo", done: "Label taken back", back };
            return Ok(Some(toast));
        }
        let Some(ids) = query.get("unlabelled") else { return Ok(None) };
        let mut gone = Vec::new();
        for id in list(ids) {
            if let Some((label, true)) = app.0.store.label(id).await? {
                gone.push(label);
            }
        }
        let Some(first) = gone.first() else { return Ok(None) };
        let text = match gone.len() {
            1 => format!("Label taken back: {}.", book.given(first).subject),
            n => format!("{n} labels taken back."),
        };
        let ids = gone.iter().map(|label| label.id.as_str()).collect::<Vec<_>>().join(",");
        Ok(Some(Self { text, ids, action: "relabel", button: "Give back", done: "Label given back", back }))
    }
}

/// The ids in a text with commas.
pub(super) fn list(ids: &str) -> impl Iterator<Item = &str> {
    ids.split(',').map(str::trim).filter(|id| !id.is_empty()).take(MOST)
}

/// `path` with the parameter that makes the toast appear, before its fragment: `labelled` or `unlabelled`.
pub(super) fn with_labels(path: &str, parameter: &str, ids: &[String]) -> String {
    let (path, fragment) = path.split_once('#').map_or((path, None), |(path, fragment)| (path, Some(fragment)));
    let joint = if path.contains('?') { '&' } else { '?' };
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{path}{joint}{parameter}={}{fragment}", ids[..ids.len().min(MOST)].join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_go_before_the_fragment() {
        assert_eq!(with_labels("/#l-1", "labelled", &["f-1".to_owned()]), "/?labelled=f-1#l-1");
        let two = ["f-1".to_owned(), "f-2".to_owned()];
        assert_eq!(with_labels("/?kind=oom", "unlabelled", &two), "/?kind=oom&unlabelled=f-1,f-2");
        assert_eq!(list("f-1, f-2,,").collect::<Vec<_>>(), ["f-1", "f-2"]);
    }
}
