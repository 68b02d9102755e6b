//! What was just done, with the way to undo it. Comes with the page that a form leads back to (`?labelled=ID`), so that
//! it is there without the script, too.

use super::filter::Query;
use super::labels::LabelBook;

/// A label that was just given.
pub(super) struct Toast {
    pub(super) text: String,
    pub(super) label_id: String,
    /// Where undoing leads.
    pub(super) back: String,
}

impl Toast {
    /// `None` where nothing was labelled, or the label is gone again.
    pub(super) fn of(query: &Query, book: &LabelBook, back: &str) -> Option<Self> {
        let given = book.find(query.get("labelled")?)?;
        let text = format!("{} stored for {}.", given.verdict, given.subject);
        Some(Self { text, label_id: given.id, back: back.to_owned() })
    }
}

/// `path` with the parameter that makes the toast appear, before its fragment.
pub(super) fn with_label(path: &str, label_id: &str) -> String {
    let (path, fragment) = path.split_once('#').map_or((path, None), |(path, fragment)| (path, Some(fragment)));
    let joint = if path.contains('?') { '&' } else { '?' };
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{path}{joint}labelled={label_id}{fragment}")
}

#[cfg(test)]
mod tests {
    use super::with_label;

    #[test]
    fn the_label_goes_before_the_fragment() {
        assert_eq!(with_label("/#l-1", "f-1"), "/?labelled=f-1#l-1");
        assert_eq!(with_label("/?kind=oom", "f-1"), "/?kind=oom&labelled=f-1");
    }
}
