//! Writing SVG: escaping, short numbers, and the few elements that the charts use.

use std::fmt::Write as _;

/// Which side of its x a text stands on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// An SVG being written.
pub(crate) struct Svg {
    out: String,
}

impl Svg {
    /// Opens the document; `title` and `description` are for screen readers.
    pub(crate) fn new(width: f64, height: f64, title: &str, description: &str) -> Self {
        let mut svg = Self { out: String::with_capacity(8 * 1024) };
        let (w, h) = (number(width), number(height));
        let _ = write!(
            svg.out,
            r#"<svg class="fw-chart" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">"#,
            escape(title)
        );
        let _ = write!(svg.out, "<title>{}</title>", escape(title));
        if !description.is_empty() {
            let _ = write!(svg.out, "<desc>{}</desc>", escape(description));
        }
        svg
    }

    pub(crate) fn finish(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }

    pub(crate) fn line(&mut self, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
        let _ = write!(
            self.out,
            r#"<line class="{class}" x1="{}" y1="{}" x2="{}" y2="{}"/>"#,
            number(x1),
            number(y1),
            number(x2),
            number(y2)
        );
    }

    pub(crate) fn rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        let _ = write!(
            self.out,
            r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}"/>"#,
            number(x),
            number(y),
            number(width.max(0.0)),
            number(height.max(0.0))
        );
    }

    /// A rectangle with numbers for a script.
    pub(crate) fn data_rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, data: &[(&str, i64)]) {
        let data: String = data.iter().map(|(name, value)| format!(r#" {name}="{value}""#)).collect();
        let _ = write!(
            self.out,
            r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}"{data}/>"#,
            number(x),
            number(y),
            number(width.max(0.0)),
            number(height.max(0.0))
        );
    }

    pub(crate) fn circle(&mut self, class: &str, x: f64, y: f64, radius: f64, title: &str) {
        let _ = write!(
            self.out,
            r#"<circle class="{class}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>"#,
            number(x),
            number(y),
            number(radius),
            escape(title)
        );
    }

    pub(crate) fn path(&mut self, class: &str, d: &str) {
        if !d.is_empty() {
            let _ = write!(self.out, r#"<path class="{class}" d="{d}"/>"#);
        }
    }

    /// `class` may be empty.
    pub(crate) fn text(&mut self, class: &str, x: f64, y: f64, anchor: Anchor, text: &str) {
        self.out.push_str("<text");
        if !class.is_empty() {
            let _ = write!(self.out, r#" class="{class}""#);
        }
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let _ = write!(self.out, r#" x="{}" y="{}"{anchor}>{}</text>"#, number(x), number(y), escape(text));
    }

    /// What is drawn inside is cut at this rectangle and keeps the outer coordinates. A nested `<svg>`
    /// clips without an id, so that a page may hold any number of charts.
    pub(crate) fn open_clip(&mut self, x: f64, y: f64, width: f64, height: f64) {
        let (x, y, w, h) = (number(x), number(y), number(width.max(0.0)), number(height.max(0.0)));
        let _ = write!(self.out, r#"<svg x="{x}" y="{y}" width="{w}" height="{h}" viewBox="{x} {y} {w} {h}">"#);
    }

    pub(crate) fn close_clip(&mut self) {
        self.out.push_str("</svg>");
    }

    /// A group with a tooltip.
    pub(crate) fn open_group(&mut self, title: &str) {
        let _ = write!(self.out, "<g><title>{}</title>", escape(title));
    }

    pub(crate) fn close_group(&mut self) {
        self.out.push_str("</g>");
    }
}

/// Escapes text for element content and attribute values. Characters that XML forbids become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate to a tenth of a pixel, without a trailing zero; what is not finite is 0.
pub(crate) fn number(value: f64) -> String {
    let tenths = (value * 10.0).round();
    if !tenths.is_finite() || tenths == 0.0 {
        return "0".to_owned();
    }
    if tenths % 10.0 == 0.0 { format!("{:.0}", tenths / 10.0) } else { format!("{:.1}", tenths / 10.0) }
}

/// About how wide `text` is at 12 px in a system font, rather too wide than too narrow: enough to lay out
/// legends and avoid collisions.
pub(crate) fn text_width(text: &str) -> f64 {
    text.chars()
        .map(|c| match c {
            'i' | 'l' | 'j' | 't' | 'f' | 'r' | '.' | ',' | ':' | ' ' | '\u{a0}' | '(' | ')' | '\'' => 4.3,
            'm' | 'w' | 'M' | 'W' | '%' | '→' => 11.5,
            c if c.is_ascii_uppercase() => 8.5,
            c if c.is_ascii() => 7.4,
            _ => 9.5,
        })
        .sum()
}

/// The same for bold text.
pub(crate) fn bold_width(text: &str) -> f64 {
    text_width(text) * 1.12
}

/// `text` cut to `width` pixels with an ellipsis.
pub(crate) fn fitted(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if text_width(&out) + 9.0 > width {
            out.pop();
            break;
        }
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_a_text() {
        assert_eq!(escape("</text><script>\"'&\u{0}"), "&lt;/text&gt;&lt;script&gt;&quot;&#39;&amp;\u{fffd}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([1.0, 1.25, -0.04, f64::NAN, 300.06].map(number), ["1", "1.3", "0", "0", "300.1"]);
    }
}
