//! Links by which somebody labels without a login: short enough for a message in a chat, signed, for one prediction or
//! request and one verdict, and good until they expire. Following one asks; only the button on its page labels, because
//! programs that show a preview of a message follow every link in it.
//!
//! `<public url>/l/<id>.<of><verdict>.<expiry>.<who>.<tag>`: the id of a prediction or request; `p` or `r`, and `t`, `f` or
//! `u`; Unix seconds; who the link was made for, in base64url, or nothing; HMAC-SHA256 of all of that, its first 16 bytes.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use forewarn_schema::{BreachKind, Feedback, FeedbackSubject, LabelSet, LabelSource, Probability, Timestamp, Verdict};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::sync::OnceCell;

use crate::app::AppState;
use crate::error::AppError;

/// Links that one address may follow in a second: a message has three, and several programs may look at each.
pub(crate) const A_SECOND: f64 = 5.0;
/// A longer one is none of ours.
const MOST_TOKEN: usize = 200;
/// Of a name, so that the link stays short.
const MOST_WHO: usize = 32;
const MOST_ID: usize = 48;
/// Bytes of the tag: none can be guessed at [`A_SECOND`].
const TAG: usize = 16;
/// What the key signs besides; another kind of link would say something else.
const PURPOSE: &[u8] = b"forewarn label link 1\n";

/// The verdicts that a link can have: what was predicted cannot be missed.
pub(crate) const VERDICTS: [Verdict; 3] = [Verdict::TruePositive, Verdict::FalsePositive, Verdict::Unclear];

/// The key of the state, read at the first use.
#[derive(Default)]
pub(crate) struct LinkKey(OnceCell<[u8; 32]>);

/// Makes links.
pub(crate) struct Links {
    key: [u8; 32],
    /// Without a trailing slash.
    base: String,
    valid: Duration,
}

/// What a link says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) subject: FeedbackSubject,
    pub(crate) verdict: Verdict,
    /// Not included.
    pub(crate) expires_at: Timestamp,
    /// Who it was made for.
    pub(crate) who: Option<String>,
}

/// A link does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// It is none of ours, or was changed.
    Unknown,
    /// It is too old.
    Expired,
}

impl AppState {
    /// What makes links; `None` where there are to be none.
    pub(crate) async fn links(&self) -> Result<Option<Links>, AppError> {
        let valid = self.0.options.feedback.links_valid;
        if valid.is_zero() {
            return Ok(None);
        }
        let key = *self.0.link_key.0.get_or_try_init(|| self.0.store.link_key()).await?;
        Ok(Some(Links { key, base: self.0.public_url.clone(), valid }))
    }

    /// A link for each verdict of `subject`, and until when they are good. `who`: whom they are for, at most 32 bytes. What is not
    /// there is refused, and so is everything where there are to be no links.
    pub(crate) async fn make_links(
        &self,
        subject: &FeedbackSubject,
        who: Option<&str>,
    ) -> Result<(Timestamp, Vec<(Verdict, String)>), AppError> {
        let (what, id) = match subject {
            FeedbackSubject::Prediction { prediction_id } => {
                if let Some(prediction) = self.0.scorer.recent(prediction_id) {
                    // It must be there when somebody follows the link.
                    self.0.store.keep_prediction(&prediction).await?;
                }
                ("prediction", prediction_id)
            }
            FeedbackSubject::Request { request_id } => ("request", request_id),
            FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => {
                return Err(AppError::Invalid { reason: "links are for a prediction or a request".to_owned() });
            }
        };
        if who.is_some_and(|who| who.len() > MOST_WHO || who.contains(char::is_control)) {
            return Err(AppError::Invalid { reason: format!("who must be at most {MOST_WHO} bytes in one line") });
        }
        if self.about(subject).await?.is_none() {
            return Err(AppError::NotFound { what, id: id.clone() });
        }
        let Some(links) = self.links().await? else {
            let reason = "there are no links while feedback.links_valid is 0".to_owned();
            return Err(AppError::Conflict { reason });
        };
        let until = links.until(self.now());
        Ok((until, links.of(subject, who, until)))
    }

    /// The same for messages: only where it is known how their readers reach this server. What goes wrong keeps no message.
    pub(crate) async fn links_for_messages(&self) -> Option<Links> {
        self.0.options.public_url.as_ref()?;
        self.links().await.unwrap_or_else(|error| {
            tracing::warn!(error = crate::error::chain(&error), "message leaves without links to label by");
            None
        })
    }
}

/// What a link is about, for the page behind it.
pub(crate) struct About {
    pub(crate) service: String,
    pub(crate) signal: String,
    pub(crate) kind: BreachKind,
    pub(crate) labels: LabelSet,
    pub(crate) at: Timestamp,
    pub(crate) probability: Probability,
}

impl AppState {
    /// What a prediction or request is about; `None` where it is not kept any more.
    pub(crate) async fn about(&self, subject: &FeedbackSubject) -> Result<Option<About>, AppError> {
        Ok(match subject {
            FeedbackSubject::Prediction { prediction_id } => self.prediction(prediction_id).await?.map(|p| About {
                service: p.service,
                signal: p.signal,
                kind: p.kind,
                labels: (*p.labels).clone(),
                at: p.at,
                probability: p.breach_probability,
            }),
            FeedbackSubject::Request { request_id } => self.request(request_id).await?.map(|r| About {
                service: r.request.service,
                signal: r.request.signal,
                kind: r.request.kind,
                labels: r.request.labels,
                at: r.request.at,
                probability: r.request.probability,
            }),
            FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => None,
        })
    }

    /// Labels that this link gave and that stand, oldest first.
    pub(crate) async fn given_by(&self, link: &Link) -> Result<Vec<Feedback>, AppError> {
        let labels = self.0.store.labels_of(&link.subject).await?;
        let stands = |(label, taken_back): (Feedback, bool)| (!taken_back && link.gave(&label)).then_some(label);
        Ok(labels.into_iter().filter_map(stands).collect())
    }
}

impl Link {
    /// In whose name it labels.
    pub(crate) fn who(&self) -> &str {
        self.who.as_deref().unwrap_or("link")
    }

    /// Whether a label of its subject came by it, or by one that says the same.
    pub(crate) fn gave(&self, label: &Feedback) -> bool {
        label.source == LabelSource::Link && label.verdict == self.verdict && label.who == self.who()
    }
}

impl Links {
    /// For how long links are good from a time on.
    pub(crate) fn until(&self, from: Timestamp) -> Timestamp {
        from + self.valid
    }

    /// A link for each verdict; none for what cannot be written into one.
    pub(crate) fn of(&self, subject: &FeedbackSubject, who: Option<&str>, until: Timestamp) -> Vec<(Verdict, String)> {
        let link = |verdict: Verdict| {
            let subject = subject.clone();
            let link = Link { subject, verdict, expires_at: until, who: who.map(str::to_owned) };
            Some((verdict, format!("{}/l/{}", self.base, self.token(&link)?)))
        };
        VERDICTS.into_iter().filter_map(link).collect()
    }

    fn token(&self, link: &Link) -> Option<String> {
        let (of, id) = match &link.subject {
            FeedbackSubject::Prediction { prediction_id } => ('p', prediction_id),
            FeedbackSubject::Request { request_id } => ('r', request_id),
            FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => return None,
        };
        let verdict = match link.verdict {
            Verdict::TruePositive => 't',
            Verdict::FalsePositive => 'f',
            Verdict::Unclear => 'u',
            Verdict::Missed => return None,
        };
        let who = link.who.as_deref().unwrap_or_default();
        if !is_plain(id) || who.len() > MOST_WHO {
            return None;
        }
        let who = BASE64_URL_SAFE_NO_PAD.encode(who);
        let said = format!("{id}.{of}{verdict}.{}.{who}", link.expires_at.millis().div_euclid(1000));
        let tag = self.mac(&said).finalize().into_bytes();
        Some(format!("{said}.{}", BASE64_URL_SAFE_NO_PAD.encode(&tag[..TAG])))
    }

    /// What a token says, if it is ours and good at `now`. The signature is looked at first, in constant time.
    pub(crate) fn read(&self, token: &str, now: Timestamp) -> Result<Link, LinkError> {
        if token.len() > MOST_TOKEN {
            return Err(LinkError::Unknown);
        }
        let (said, tag) = token.rsplit_once('.').ok_or(LinkError::Unknown)?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok().filter(|tag| tag.len() == TAG).ok_or(LinkError::Unknown)?;
        self.mac(said).verify_truncated_left(&tag).map_err(|_| LinkError::Unknown)?;
        let link = parse(said).ok_or(LinkError::Unknown)?;
        if link.expires_at <= now { Err(LinkError::Expired) } else { Ok(link) }
    }

    fn mac(&self, said: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(PURPOSE);
        mac.update(said.as_bytes());
        mac
    }
}

fn is_plain(id: &str) -> bool {
    (1..=MOST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn parse(said: &str) -> Option<Link> {
    let [id, of, expires, who] = said.split('.').collect::<Vec<_>>().try_into().ok()?;
    let id = is_plain(id).then(|| id.to_owned())?;
    let (subject, verdict) = match of.split_at_checked(1)? {
        ("p", verdict) => (FeedbackSubject::Prediction { prediction_id: id }, verdict),
        ("r", verdict) => (FeedbackSubject::Request { request_id: id }, verdict),
        _ => return None,
    };
    let verdict = match verdict {
        "t" => Verdict::TruePositive,
        "f" => Verdict::FalsePositive,
        "u" => Verdict::Unclear,
        _ => return None,
    };
    let expires_at = Timestamp::from_millis(expires.parse::<i64>().ok()?.checked_mul(1000)?);
    let who = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(who).ok()?).ok()?;
    Some(Link { subject, verdict, expires_at, who: Some(who).filter(|who| !who.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn links(key: u8) -> Links {
        let base = "https://forewarn.monitoring.example.com".to_owned();
        Links { key: [key; 32], base, valid: Duration::from_secs(3600) }
    }

    fn request() -> FeedbackSubject {
        FeedbackSubject::Request { request_id: "r-0123456789abcdef".to_owned() }
    }

    #[test]
    fn a_link_says_what_it_was_made_for_and_fits_a_message() {
        let made = links(1).of(&request(), Some("Anna Schröder (SRE on call)"), links(1).until(at(1_767_225_600)));
        assert_eq!(made.iter().map(|(verdict, _)| *verdict).collect::<Vec<_>>(), VERDICTS);
        for (verdict, url) in made {
            assert!(url.len() < 200 && url.is_ascii(), "{} bytes: {url}", url.len());
            let token = url.strip_prefix("https://forewarn.monitoring.example.com/l/").unwrap();
            let link = links(1).read(token, at(1_767_225_600 + 3599)).unwrap();
            assert_eq!((&link.subject, link.verdict), (&request(), verdict));
            assert_eq!(link.who.as_deref(), Some("Anna Schröder (SRE on call)"));
            assert_eq!(links(1).read(token, at(1_767_225_600 + 3600)), Err(LinkError::Expired));
        }
        let nobody = links(1).of(&request(), None, at(2_000_000_000)).swap_remove(0).1;
        assert!(nobody.len() < 110, "{} bytes: {nobody}", nobody.len());
        assert!(
            links(1).of(&request(), Some(&"n".repeat(MOST_WHO + 1)), at(1)).is_empty(),
            "none rather than a long one"
        );
    }

    #[test]
    fn a_link_that_was_changed_in_any_place_or_signed_by_another_is_nobodys() {
        let url = links(1).of(&request(), Some("anna"), at(2_000_000_000)).swap_remove(0).1;
        let token = url.rsplit_once('/').unwrap().1;
        assert!(links(1).read(token, at(0)).is_ok());
        assert_eq!(links(2).read(token, at(0)), Err(LinkError::Unknown));
        for place in 0..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[place] = if changed[place] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(links(1).read(&changed, at(0)), Err(LinkError::Unknown), "{changed}");
            assert_eq!(links(1).read(&token[..place], at(0)), Err(LinkError::Unknown));
        }
        for other in ["", ".", "....", &"a.".repeat(100), "é.rt.1..AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(links(1).read(other, at(0)), Err(LinkError::Unknown), "{other}");
        }
    }
}
