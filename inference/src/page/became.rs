//! What became of announcements, in words and as marks on a chart.

use std::collections::BTreeMap;

use forewarn_plots::{Marker, MarkerKind, format_utc};
use forewarn_schema::{Became, Happening, Prediction, Settlement, Timestamp};

use super::words;
use crate::app::AppState;
use crate::error::AppError;
use crate::state::StoredRequest;

/// What the data say of one announcement.
#[derive(Clone, Debug)]
pub(super) struct BecameBadge {
    /// In a word or two.
    pub(super) word: &'static str,
    pub(super) tone: &'static str,
    /// In a sentence.
    pub(super) text: String,
    /// For tests and scripts, as in the API.
    pub(super) key: &'static str,
}

/// What became of requests, by their ids.
pub(super) struct BecameBook(BTreeMap<String, Settlement>);

impl BecameBook {
    /// Of `requests`, newest first.
    pub(super) async fn read(app: &AppState, requests: &[StoredRequest]) -> Result<Self, AppError> {
        let Some(oldest) = requests.last() else { return Ok(Self(BTreeMap::new())) };
        Ok(Self(app.0.store.settlements_of_requests(oldest.request.at).await?))
    }

    /// Of one; `None` while that is open.
    pub(super) fn of(&self, request_id: &str) -> Option<BecameBadge> {
        self.0.get(request_id).map(badge)
    }

    /// What is added to the mark of a request on a chart.
    pub(super) fn mark(&self, request_id: &str) -> String {
        self.of(request_id).map_or_else(String::new, |badge| format!(": {}", badge.text))
    }

    /// The breaches that were announced to this prediction's target, as marks on its chart.
    pub(super) fn breaches(&self, prediction: &Prediction) -> Vec<Marker> {
        let of_target = self.0.values().filter(|s| {
            let is_part = s.labels.iter().all(|(name, value)| prediction.labels.get(name) == Some(value));
            s.service == prediction.service && s.signal == prediction.signal && is_part
        });
        let mut times: Vec<Timestamp> = of_target.filter_map(|s| breached(&s.became)).collect();
        times.sort();
        times.dedup();
        let mark = |at| Marker { at, kind: MarkerKind::Breach, text: "the limit was reached".to_owned() };
        times.into_iter().map(mark).collect()
    }
}

fn breached(became: &Became) -> Option<Timestamp> {
    if let Became::Breached { at } = became { Some(*at) } else { None }
}

/// What the data say of it.
pub(super) fn badge(settled: &Settlement) -> BecameBadge {
    let (word, tone, text) = match &settled.became {
        Became::Breached { at } => {
            let lead = words::span(at.seconds_since(settled.at).max(0.0));
            ("Breached", "good", format!("the breach came at {}, {lead} after this was said", format_utc(*at)))
        }
        Became::InBreach => ("In breach", "", "said during a breach: neither right nor wrong".to_owned()),
        Became::Averted { by, would_have } => {
            let what = by.map_or("it ended or began anew", happening);
            let word = match would_have {
                Some(true) => "Would have breached",
                Some(false) => "False alarm",
                None => "Averted",
            };
            let tone = match would_have {
                Some(true) => "good",
                Some(false) => "bad",
                None => "",
            };
            let said = match would_have {
                Some(true) => "the last forecast says that it would have breached",
                Some(false) => "no breach was in sight any more",
                None => "nobody can tell whether it would have breached",
            };
            (word, tone, format!("{what} before; {said}"))
        }
        Became::FalseAlarm => ("False alarm", "bad", "its time passed and no breach came".to_owned()),
        Became::Unsettled => ("Not settled", "", "too little was seen of it to tell".to_owned()),
        Became::Missed { at } => ("Missed", "bad", format!("nobody announced the breach of {}", format_utc(*at))),
    };
    BecameBadge { word, tone, text, key: crate::state::became_word(&settled.became) }
}

fn happening(what: Happening) -> &'static str {
    match what {
        Happening::OomKilled => "it was killed for want of memory",
        Happening::Restarted => "it was restarted",
        Happening::RolledOut => "it was rolled out anew",
        Happening::Scaled => "the workload was scaled",
        Happening::LimitChanged => "its limit was changed",
        Happening::Ended => "it ended",
    }
}
