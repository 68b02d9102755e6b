//! Online template mining: Drain (P. He, J. Zhu, Z. Zheng, M. R. Lyu, "Drain: An Online Log Parsing Approach with Fixed
//! Depth Tree", ICWS 2017), over masked messages ([`mask`]).
//!
//! A message goes down a tree of fixed depth, first by its number of tokens, then by its first tokens, to a leaf that holds
//! a few templates. It gets the one it is most similar to, if at least the threshold of its tokens are the same; tokens
//! that differ become the wildcard `<*>` of the template. Otherwise it becomes a template itself. Two deviations: children
//! and templates are bounded, and a template has an id that stays.
//!
//! **Ids.** A template's id is the digest of its *seed*: the masked message that it began with. It never changes, also when
//! the template becomes more general. Two runs over other orders of the same messages give the same ids to every template
//! that never got a wildcard, as its messages all mask to the seed; of templates with wildcards the id depends on which
//! message came first. What was learnt is kept with the counts, so in one dataset an id never changes its meaning.

pub(crate) mod mask;
mod tree;

use sha2::{Digest, Sha256};

use mask::Masked;
use tree::Tree;

/// Stands for any one token.
pub(crate) const WILDCARD: &str = "<*>";

/// How similar and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DrainParams {
    /// Tokens that lead to a leaf: the paper's depth without root, length and leaf.
    pub(crate) prefix: usize,
    /// Of a thousand tokens, how many must be the same at least.
    pub(crate) similarity_per_mille: usize,
    /// Children of a node, the one for any other token included.
    pub(crate) max_children: usize,
    /// Templates in all.
    pub(crate) max_templates: usize,
}

impl Default for DrainParams {
    fn default() -> Self {
        Self { prefix: 2, similarity_per_mille: 500, max_children: 100, max_templates: 1000 }
    }
}

/// The templates of one workload.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    params: DrainParams,
    tree: Tree,
    templates: Vec<Template>,
}

/// One kind of message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    /// Twelve hexadecimal digits; unique within a [`Drain`].
    pub(crate) id: String,
    /// The masked message it began with.
    pub(crate) seed: String,
    /// The seed's tokens, or [`WILDCARD`].
    tokens: Vec<Box<str>>,
}

impl Template {
    /// Its tokens, with one space between them.
    pub(crate) fn text(&self) -> String {
        self.tokens.join(" ")
    }

    /// How many of the tokens it holds; `None` where another number of tokens is meant.
    fn same_tokens(&self, message: &Masked) -> Option<usize> {
        if self.tokens.len() != message.len() {
            return None;
        }
        Some(self.tokens.iter().zip(message.tokens()).filter(|(ours, theirs)| &***ours == *theirs).count())
    }

    fn wildcards(&self) -> usize {
        self.tokens.iter().filter(|t| &***t == WILDCARD).count()
    }
}

impl Drain {
    pub(crate) fn new(params: DrainParams) -> Self {
        Self { params, tree: Tree::default(), templates: Vec::new() }
    }

    /// As it was when it had learnt `learnt`: seed and text of each template, in the order in which they began. Says
    /// what is wrong with them.
    pub(crate) fn restored(
        params: DrainParams,
        learnt: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let mut drain = Self::new(params);
        for (seed, text) in learnt {
            if drain.templates.len() == params.max_templates {
                return Err(format!("there must be at most {} templates", params.max_templates));
            }
            let (of_seed, tokens): (Vec<&str>, Vec<&str>) = (seed.split(' ').collect(), text.split(' ').collect());
            let agrees =
                of_seed.len() == tokens.len() && of_seed.iter().zip(&tokens).all(|(s, t)| s == t || *t == WILDCARD);
            if !agrees || seed.is_empty() {
                return Err(format!(
                    "a template must be its seed with some tokens {WILDCARD}, got {text:?} of {seed:?}"
                ));
            }
            let index = drain.begin(&of_seed, &seed);
            if let Some(template) = drain.templates.get_mut(index) {
                template.tokens = tokens.into_iter().map(Box::from).collect();
            }
        }
        Ok(drain)
    }

    /// In the order in which they began.
    pub(crate) fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// The template of a message, by its place in [`templates`](Self::templates): one that it is similar to, made more
    /// general where needed, or a new one if one `may_begin`. `None` for a message of no tokens, and where a new one would
    /// be one too many. Of equally similar ones the one with more wildcards, then the first.
    pub(crate) fn learn(&mut self, message: &Masked, may_begin: bool) -> Option<usize> {
        if message.len() == 0 {
            return None;
        }
        let leaf = self.tree.leaf(message.len(), message.tokens().take(self.params.prefix));
        if let Some(index) = leaf.and_then(|templates| self.most_similar(templates, message)) {
            self.generalise(index, message);
            return Some(index);
        }
        if !may_begin || self.templates.len() >= self.params.max_templates {
            return None;
        }
        let tokens: Vec<&str> = message.tokens().collect();
        Some(self.begin(&tokens, message.text()))
    }

    fn most_similar(&self, candidates: &[usize], message: &Masked) -> Option<usize> {
        let mut best: Option<(usize, usize, usize)> = None;
        for &index in candidates {
            let Some(template) = self.templates.get(index) else { continue };
            let Some(same) = template.same_tokens(message) else { continue };
            if same * 1000 < self.params.similarity_per_mille * message.len() {
                continue;
            }
            if same == message.len() {
                return Some(index);
            }
            let wildcards = template.wildcards();
            if best.is_none_or(|(s, w, _)| (same, wildcards) > (s, w)) {
                best = Some((same, wildcards, index));
            }
        }
        best.map(|(_, _, index)| index)
    }

    fn generalise(&mut self, index: usize, message: &Masked) {
        let Some(template) = self.templates.get_mut(index) else { return };
        for (ours, theirs) in template.tokens.iter_mut().zip(message.tokens()) {
            if &**ours != theirs && &**ours != WILDCARD {
                *ours = WILDCARD.into();
            }
        }
    }

    fn begin(&mut self, tokens: &[&str], seed: &str) -> usize {
        let index = self.templates.len();
        let prefix = tokens.iter().copied().take(self.params.prefix);
        self.tree.leaf_mut(tokens.len(), prefix, self.params.max_children).push(index);
        let id = self.new_id(seed);
        let tokens = tokens.iter().map(|t| Box::from(*t)).collect();
        self.templates.push(Template { id, seed: seed.to_owned(), tokens });
        index
    }

    /// Two seeds with one digest are told apart by their order.
    fn new_id(&self, seed: &str) -> String {
        let mut salted = seed.to_owned();
        loop {
            let digest = Sha256::digest(salted.as_bytes());
            let id: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            if self.templates.iter().all(|t| t.id != id) {
                return id;
            }
            salted.push('\0');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn learn(drain: &mut Drain, message: &str) -> Option<usize> {
        let mut masked = Masked::default();
        masked.set(message);
        drain.learn(&masked, true)
    }

    fn texts(drain: &Drain) -> Vec<String> {
        drain.templates().iter().map(Template::text).collect()
    }

    fn restored(drain: &Drain) -> Drain {
        let learnt = drain.templates().iter().map(|t| (t.seed.clone(), t.text()));
        Drain::restored(drain.params, learnt).unwrap()
    }

    /// Whether a message is one of a template's.
    fn matches(template: &Template, message: &str) -> bool {
        let mut masked = Masked::default();
        masked.set(message);
        template.tokens.len() == masked.len()
            && template
                .tokens
                .iter()
                .zip(masked.tokens())
                .all(|(ours, theirs)| &**ours == WILDCARD || &**ours == theirs)
    }

    #[test]
    fn messages_of_one_statement_are_one_template_whose_id_stays() {
        let mut drain = Drain::new(DrainParams::default());
        assert_eq!(learn(&mut drain, "order 12 of Ann paid by card"), Some(0));
        let id = drain.templates()[0].id.clone();
        assert_eq!(learn(&mut drain, "order 99 of Bob paid by card"), Some(0));
        assert_eq!(learn(&mut drain, "order 99 of Bob paid by voucher"), Some(0));
        assert_eq!(learn(&mut drain, "order 99 is lost"), Some(1));
        assert_eq!(learn(&mut drain, "connection to db refused"), Some(2));
        assert_eq!(texts(&drain)[0], "order <num> of <*> paid by <*>");
        assert_eq!(drain.templates()[0].id, id);
        assert_eq!(learn(&mut drain, " \n"), None);
    }

    #[test]
    fn what_is_too_many_is_none() {
        let mut drain = Drain::new(DrainParams { max_templates: 3, ..DrainParams::default() });
        let got: Vec<_> = ["a", "b", "c", "d", "a"].iter().map(|m| learn(&mut drain, m)).collect();
        assert_eq!(got, [Some(0), Some(1), Some(2), None, Some(0)]);
    }

    #[test]
    fn a_file_that_does_not_agree_with_itself_is_refused() {
        for (seed, text) in [("", ""), ("a b", "a"), ("a b", "a c"), ("a b", "")] {
            let learnt = [(seed.to_owned(), text.to_owned())].into_iter();
            assert!(Drain::restored(DrainParams::default(), learnt).is_err(), "{text:?} of {seed:?}");
        }
    }

    fn messages() -> impl Strategy<Value = Vec<String>> {
        let word = prop_oneof!["[abc]", "[0-9]{1,3}", "[a-z]{2,4}", Just("\"q\"".to_owned())];
        let message = proptest::collection::vec(word, 0..7).prop_map(|words| words.join(" "));
        proptest::collection::vec(message, 0..80)
    }

    proptest! {
        #[test]
        fn a_message_matches_the_template_it_got_and_the_same_messages_give_the_same(messages in messages()) {
            let params = DrainParams { max_children: 4, max_templates: 20, ..DrainParams::default() };
            let (mut drain, mut again) = (Drain::new(params), Drain::new(params));
            let got: Vec<_> = messages.iter().map(|m| learn(&mut drain, m)).collect();
            for (message, index) in messages.iter().zip(&got) {
                prop_assert!(index.is_none_or(|i| matches(&drain.templates()[i], message)), "{message:?}");
                prop_assert_eq!(learn(&mut again, message), *index);
            }
            prop_assert_eq!(texts(&drain), texts(&again));
            prop_assert!(drain.templates().len() <= 20 && drain.tree.widest() <= 4);
            let ids: BTreeSet<_> = drain.templates().iter().map(|t| &t.id).collect();
            prop_assert_eq!(ids.len(), drain.templates().len());
        }

        #[test]
        fn what_was_restored_goes_on_as_if_it_had_not_stopped(messages in messages(), cut: usize) {
            let params = DrainParams { max_children: 4, max_templates: 20, ..DrainParams::default() };
            let mut whole = Drain::new(params);
            let mut parted = Drain::new(params);
            for (i, message) in messages.iter().enumerate() {
                if i == cut % (messages.len() + 1) {
                    parted = restored(&parted);
                }
                prop_assert_eq!(learn(&mut whole, message), learn(&mut parted, message));
            }
            prop_assert_eq!(whole.templates(), parted.templates());
        }

        #[test]
        fn templates_without_wildcards_have_the_same_ids_in_any_order(messages in messages()) {
            let ids = |messages: &mut dyn Iterator<Item = &String>| {
                let mut drain = Drain::new(DrainParams { similarity_per_mille: 1000, ..DrainParams::default() });
                messages.for_each(|m| { learn(&mut drain, m); });
                drain.templates().iter().map(|t| t.id.clone()).collect::<BTreeSet<_>>()
            };
            prop_assert_eq!(ids(&mut messages.iter()), ids(&mut messages.iter().rev()));
        }
    }
}
