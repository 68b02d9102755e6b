//! What an alert says, stored once: however often it is repeated, to whichever server, and by however many at the same instant. The
//! database's own keys see to that, and not a look before.

use forewarn_schema::{Feedback, FeedbackSubject, Prediction, Timestamp};

use super::feedback::new_id;
use super::{Change, StateError, StateStore, plain};
use crate::labels::NewFeedback;

impl StateStore {
    /// Stores the label that the alert of that identity gives, as [`add_labels`](Self::add_labels) would; `None` where the alert was
    /// taken before, or another one has said the same of the same thing. Both hold for good, also once the label is taken back.
    pub(crate) async fn add_alert_label(
        &self,
        alert: Option<&str>,
        new: &NewFeedback,
        keep: &[Prediction],
        now: Timestamp,
    ) -> Result<Option<Feedback>, StateError> {
        const WHAT: &str = "store what an alert says";
        let (id, mut tx) = (new_id(now), self.begin(WHAT).await?);
        let claims = async {
            // One after the other in this order, so that two who claim both never wait for one another.
            let is_new = match alert {
                Some(alert) => claim(&mut tx, &format!("alert:{alert}"), &id, now).await?,
                None => true,
            };
            Ok(is_new && claim(&mut tx, &key_of(&new.subject), &id, now).await?)
        };
        let is_first = claims.await.map_err(|e| self.failed(WHAT, e))?;
        let mut label = None;
        if is_first {
            self.keep(&mut tx, keep).await?;
            label = Some(self.label_as(&mut tx, id, new, now).await?);
        }
        self.commit(tx, WHAT).await?;
        Ok(label)
    }
}

/// Whether nobody had this key before. Who is about to have it is waited for.
async fn claim(tx: &mut Change, key: &str, label: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    let sql = "INSERT INTO alert_labels (key, feedback_id, at_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let done = sqlx::query(sql).bind(plain(key)).bind(label).bind(now.millis()).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}

/// What the label is of, as migration 18 wrote it for the labels of before.
fn key_of(subject: &FeedbackSubject) -> String {
    match subject {
        FeedbackSubject::Prediction { prediction_id } => format!("prediction:{prediction_id}"),
        FeedbackSubject::Request { request_id } => format!("request:{request_id}"),
        FeedbackSubject::Breach { service, kind, at } => format!("breach:{}:{}:{service}", kind.as_str(), at.millis()),
        FeedbackSubject::Span { service, kind, range } => {
            let kind = kind.map_or("", forewarn_schema::BreachKind::as_str);
            format!("span:{kind}:{}:{}:{service}", range.start.millis(), range.end.millis())
        }
    }
}
