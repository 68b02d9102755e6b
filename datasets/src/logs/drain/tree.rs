//! The tree of fixed depth: from the number of tokens, by the first tokens, to a leaf of templates.

use std::collections::BTreeMap;

use super::WILDCARD;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    by_length: BTreeMap<usize, Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: BTreeMap<Box<str>, Node>,
    /// Of a leaf: which templates, in the order in which they began.
    templates: Vec<usize>,
}

impl Tree {
    /// The leaf that a message of `length` tokens beginning with `prefix` belongs to; `None` where there is none yet.
    pub(super) fn leaf<'t>(&self, length: usize, prefix: impl Iterator<Item = &'t str>) -> Option<&[usize]> {
        let mut node = self.by_length.get(&length)?;
        for token in prefix {
            node = node.children.get(token).or_else(|| node.children.get(WILDCARD))?;
        }
        Some(&node.templates)
    }

    /// The same, made where there is none. A token with digits, and one for which a node has no more room, goes to the
    /// node's child for any other token; so a node has at most `max_children` children.
    pub(super) fn leaf_mut<'t>(
        &mut self,
        length: usize,
        prefix: impl Iterator<Item = &'t str>,
        max_children: usize,
    ) -> &mut Vec<usize> {
        let mut node = self.by_length.entry(length).or_default();
        for token in prefix {
            let has_room = node.children.len() + 1 < max_children;
            let has_digit = token.bytes().any(|b| b.is_ascii_digit());
            let is_known = node.children.contains_key(token);
            let name = if is_known || (has_room && !has_digit) { token } else { WILDCARD };
            node = node.children.entry(Box::from(name)).or_default();
        }
        &mut node.templates
    }

    /// The most children that a node has.
    #[cfg(test)]
    pub(super) fn widest(&self) -> usize {
        fn widest(node: &Node) -> usize {
            node.children.values().map(widest).max().unwrap_or(0).max(node.children.len())
        }
        self.by_length.values().map(widest).max().unwrap_or(0)
    }
}
