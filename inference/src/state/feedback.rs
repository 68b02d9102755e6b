//! Labels: stored as they come, all of a batch or none, taken back whole and given again as they were. A label that was
//! taken back stays in its table, out of everybody's sight, so that undoing can be undone.

use forewarn_schema::{BreachKind, Feedback, FeedbackSubject, LabelSource, Prediction, TimeRange, Timestamp, Verdict};
use sqlx::{AssertSqlSafe, Row};

use super::{AnyRow, Change, StateError, StateStore, audit, corrupt, plain};
use crate::labels::{LabelFilter, NewFeedback};

const SELECT: &str = "SELECT id, prediction_id, request_id, service, kind, breach_at_ms, ends_at_ms, verdict, note, source, who, \
     created_at_ms FROM feedback";

/// What a label of a prediction or a request is about, so that it can be found by that.
struct About {
    service: String,
    kind: BreachKind,
    at: Timestamp,
}

impl StateStore {
    /// Stores a label given at `now`, see [`add_labels`](Self::add_labels).
    pub async fn add_feedback(&self, new: &NewFeedback, now: Timestamp) -> Result<Feedback, StateError> {
        let stored = self.add_labels(std::slice::from_ref(new), &[], now).await?;
        Ok(stored.into_iter().next().expect("one label was stored"))
    }

    /// Stores labels given at `now`, all of them or none; of two of one prediction the later one speaks. A prediction or
    /// request that is not kept here, nor among `keep`, is [`StateError::NotFound`]: a label of something unknown could
    /// never be used. What is in `keep` is kept from now on.
    pub async fn add_labels(
        &self,
        new: &[NewFeedback],
        keep: &[Prediction],
        now: Timestamp,
    ) -> Result<Vec<Feedback>, StateError> {
        const WHAT: &str = "store labels";
        let mut tx = self.begin(WHAT).await?;
        let mut stored = Vec::with_capacity(new.len());
        self.keep(&mut tx, keep).await?;
        for new in new {
            stored.push(self.label_as(&mut tx, new_id(now), new, now).await?);
        }
        self.commit(tx, WHAT).await?;
        Ok(stored)
    }

    /// Keeps predictions that are about to be labelled.
    pub(super) async fn keep(&self, tx: &mut Change, predictions: &[Prediction]) -> Result<(), StateError> {
        for prediction in predictions {
            let kept = super::predictions::insert(tx, prediction, None, &self.shard).await;
            kept.map_err(|e| self.failed("keep what is labelled", e))?;
        }
        Ok(())
    }

    /// Stores one label under `id`.
    pub(super) async fn label_as(
        &self,
        tx: &mut Change,
        id: String,
        new: &NewFeedback,
        now: Timestamp,
    ) -> Result<Feedback, StateError> {
        let feedback = Feedback {
            id,
            subject: new.subject.clone(),
            verdict: new.verdict,
            note: new.note.clone(),
            source: new.source,
            who: crate::access::caller().to_string(),
            created_at: now,
        };
        let about = about(tx, &feedback.subject).await?;
        insert(tx, &feedback, about.as_ref()).await.map_err(|e| self.failed("store a label", e))?;
        Ok(feedback)
    }

    /// Every label, in the order in which they came.
    pub async fn feedback(&self) -> Result<Vec<Feedback>, StateError> {
        let sql = format!("{SELECT} WHERE taken_back_ms IS NULL ORDER BY created_at_ms, seq, id");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read labels", e))?;
        rows.iter().map(read).collect()
    }

    /// Labels that `filter` takes, newest first, at most `limit`. A `before` that never was is
    /// [`StateError::NotFound`].
    pub async fn labels(&self, filter: &LabelFilter, limit: u32) -> Result<Vec<Feedback>, StateError> {
        let failed = |e| StateError::query("read labels", e);
        let mut conditions =
            vec![if filter.taken_back { "taken_back_ms IS NOT NULL" } else { "taken_back_ms IS NULL" }.to_owned()];
        let mut texts: Vec<String> = Vec::new();
        let equal = [
            ("service", filter.service.as_deref()),
            ("verdict", filter.verdict.map(Verdict::as_str)),
            ("source", filter.source.map(LabelSource::as_str)),
        ];
        for (column, value) in equal {
            let Some(value) = value else { continue };
            texts.push(plain(value));
            conditions.push(format!("{column} = ${}", texts.len()));
        }
        if let Some(kind) = filter.kind {
            texts.push(kind.as_str().to_owned());
            // A span without a kind is of every one.
            conditions.push(format!("(kind = ${} OR kind IS NULL)", texts.len()));
        }
        let mut numbers: Vec<i64> = Vec::new();
        if let Some(since) = filter.since {
            numbers.push(since.millis());
            conditions.push(format!("created_at_ms >= ${}", texts.len() + numbers.len()));
        }
        let place = match &filter.before {
            None => None,
            Some(id) => {
                let row = sqlx::query("SELECT created_at_ms, seq FROM feedback WHERE id = $1").bind(plain(id));
                let row = row.fetch_optional(&self.pool).await.map_err(failed)?;
                let row = row.ok_or_else(|| StateError::NotFound { what: "label", id: id.clone() })?;
                numbers.extend([row.try_get(0).map_err(failed)?, row.try_get::<i64, _>(1).map_err(failed)?]);
                let last = texts.len() + numbers.len();
                conditions.push(format!("(created_at_ms, seq, id) < (${}, ${last}, ${})", last - 1, last + 1));
                Some(id)
            }
        };
        let parameters = texts.len() + numbers.len() + usize::from(place.is_some());
        let sql = format!(
            "{SELECT} WHERE {} ORDER BY created_at_ms DESC, seq DESC, id DESC LIMIT ${}",
            conditions.join(" AND "),
            parameters + 1
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for text in texts {
            query = query.bind(text);
        }
        for number in numbers {
            query = query.bind(number);
        }
        if let Some(id) = place {
            query = query.bind(plain(id));
        }
        let rows = query.bind(i64::from(limit)).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(read).collect()
    }

    /// The label of that id, and whether it is taken back.
    pub async fn label(&self, id: &str) -> Result<Option<(Feedback, bool)>, StateError> {
        let row = sqlx::query(AssertSqlSafe(SELECT.replace(" FROM", ", taken_back_ms FROM") + " WHERE id = $1"))
            .bind(plain(id))
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| StateError::query("read a label", e))?;
        let Some(row) = row else { return Ok(None) };
        let taken_back: Option<i64> = row.try_get(12).map_err(|e| StateError::query("read a label", e))?;
        Ok(Some((read(&row)?, taken_back.is_some())))
    }

    /// Labels of exactly this, in the order in which they came, each with whether it is taken back.
    pub(crate) async fn labels_of(&self, subject: &FeedbackSubject) -> Result<Vec<(Feedback, bool)>, StateError> {
        let failed = |e| StateError::query("read labels", e);
        let columns = Columns::of(subject);
        let (condition, of) = match (columns.prediction_id, columns.request_id, columns.service) {
            (Some(id), ..) => ("prediction_id = $1", id),
            (None, Some(id), _) => ("request_id = $1", id),
            (None, None, service) => ("service = $1 AND breach_at_ms = $2", service.unwrap_or_default()),
        };
        let select = SELECT.replace(" FROM", ", taken_back_ms FROM");
        let sql = format!("{select} WHERE {condition} ORDER BY created_at_ms, seq, id");
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(plain(of));
        if let Some(from) = columns.from {
            query = query.bind(from.millis());
        }
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        let with_state = |row: &AnyRow| {
            let taken_back: Option<i64> = row.try_get(12).map_err(failed)?;
            Ok((read(row)?, taken_back.is_some()))
        };
        let mut labels: Vec<(Feedback, bool)> = rows.iter().map(with_state).collect::<Result<_, StateError>>()?;
        labels.retain(|(label, _)| label.subject == *subject);
        Ok(labels)
    }

    /// Takes labels back, all at once; returns how many there were of them. That they were there stays in the audit.
    pub async fn take_back(&self, ids: &[String], now: Timestamp) -> Result<usize, StateError> {
        const TAKE: &str = "UPDATE feedback SET taken_back_ms = $1 WHERE id = $2 AND taken_back_ms IS NULL";
        self.move_labels(ids, (TAKE, Some(now.millis()), "unlabel"), now).await
    }

    /// Gives labels back that were taken back, as they were: with their time, their words and their place among the others.
    pub async fn restore(&self, ids: &[String], now: Timestamp) -> Result<usize, StateError> {
        const GIVE: &str = "UPDATE feedback SET taken_back_ms = $1 WHERE id = $2 AND taken_back_ms IS NOT NULL";
        self.move_labels(ids, (GIVE, None, "relabel"), now).await
    }

    async fn move_labels(
        &self,
        ids: &[String],
        (set, to, action): (&'static str, Option<i64>, &str),
        now: Timestamp,
    ) -> Result<usize, StateError> {
        const WHAT: &str = "take labels back or give them back";
        let mut tx = self.begin(WHAT).await?;
        let change = async {
            let mut moved = 0;
            for id in ids {
                let done = sqlx::query(set).bind(to).bind(plain(id)).execute(&mut *tx).await?;
                if done.rows_affected() == 1 {
                    audit(&mut tx, action, id, "", now).await?;
                    moved += 1;
                }
            }
            Ok(moved)
        };
        let moved = change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await?;
        Ok(moved)
    }
}

pub(super) fn new_id(now: Timestamp) -> String {
    format!("f-{}", crate::unique_id::unique_id(now))
}

/// What a label of `subject` is about, where that has to be looked up; an error where it is not there.
async fn about(tx: &mut Change, subject: &FeedbackSubject) -> Result<Option<About>, StateError> {
    let (what, id, sql) = match subject {
        FeedbackSubject::Prediction { prediction_id } => {
            ("prediction", prediction_id, "SELECT service, kind, at_ms FROM predictions WHERE id = $1")
        }
        FeedbackSubject::Request { request_id } => {
            ("request", request_id, "SELECT service, kind, at_ms FROM requests WHERE id = $1")
        }
        FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => return Ok(None),
    };
    let failed = |e| StateError::query("look up what a label is of", e);
    let row = sqlx::query(sql).bind(plain(id)).fetch_optional(&mut **tx).await.map_err(failed)?;
    let row = row.ok_or_else(|| StateError::NotFound { what, id: id.clone() })?;
    let kind: String = row.try_get(1).map_err(failed)?;
    Ok(Some(About {
        service: row.try_get(0).map_err(failed)?,
        kind: kind.parse().map_err(|e: forewarn_schema::UnknownKind| corrupt(what, id, e))?,
        at: Timestamp::from_millis(row.try_get(2).map_err(failed)?),
    }))
}

async fn insert(tx: &mut Change, feedback: &Feedback, about: Option<&About>) -> Result<(), sqlx::Error> {
    let columns = Columns::of(&feedback.subject);
    sqlx::query(
        "INSERT INTO feedback (id, prediction_id, request_id, service, kind, breach_at_ms, ends_at_ms, \
         verdict, note, source, who, created_at_ms, seq) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, (SELECT coalesce(max(seq), 0) + 1 FROM feedback))",
    )
    .bind(&feedback.id)
    .bind(columns.prediction_id)
    .bind(columns.request_id)
    .bind(about.map(|a| a.service.as_str()).or(columns.service).map(plain))
    .bind(about.map(|a| a.kind).or(columns.kind).map(BreachKind::as_str))
    .bind(about.map(|a| a.at).or(columns.from).map(Timestamp::millis))
    .bind(columns.to.map(Timestamp::millis))
    .bind(feedback.verdict.as_str())
    .bind(feedback.note.as_deref().map(plain))
    .bind(feedback.source.as_str())
    .bind(plain(&feedback.who))
    .bind(feedback.created_at.millis())
    .execute(&mut **tx)
    .await?;
    audit(tx, "label", &feedback.id, feedback.verdict.as_str(), feedback.created_at).await
}

/// What a label is of, as it is stored.
#[derive(Default)]
struct Columns<'a> {
    prediction_id: Option<&'a str>,
    request_id: Option<&'a str>,
    service: Option<&'a str>,
    kind: Option<BreachKind>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl<'a> Columns<'a> {
    fn of(subject: &'a FeedbackSubject) -> Self {
        let none = Self::default();
        match subject {
            FeedbackSubject::Prediction { prediction_id } => Self { prediction_id: Some(prediction_id), ..none },
            FeedbackSubject::Request { request_id } => Self { request_id: Some(request_id), ..none },
            FeedbackSubject::Breach { service, kind, at } => {
                Self { service: Some(service), kind: Some(*kind), from: Some(*at), ..none }
            }
            FeedbackSubject::Span { service, kind, range } => {
                Self { service: Some(service), kind: *kind, from: Some(range.start), to: Some(range.end), ..none }
            }
        }
    }
}

fn read(row: &AnyRow) -> Result<Feedback, StateError> {
    let column = |e| StateError::query("read a label", e);
    let id: String = row.try_get(0).map_err(column)?;
    let unreadable = |problem: String| corrupt("label", &id, problem);
    let prediction_id: Option<String> = row.try_get(1).map_err(column)?;
    let request_id: Option<String> = row.try_get(2).map_err(column)?;
    let service: Option<String> = row.try_get(3).map_err(column)?;
    let kind: Option<String> = row.try_get(4).map_err(column)?;
    let kind = kind.map(|kind| kind.parse::<BreachKind>()).transpose().map_err(|e| corrupt("label", &id, e))?;
    let time = |index: usize| row.try_get(index).map(|ms: Option<i64>| ms.map(Timestamp::from_millis));
    let (from, to) = (time(5).map_err(column)?, time(6).map_err(column)?);
    let subject = match (prediction_id, request_id, service, kind, from, to) {
        // Those of a prediction or a request have more, to be found by.
        (Some(prediction_id), ..) => FeedbackSubject::Prediction { prediction_id },
        (None, Some(request_id), ..) => FeedbackSubject::Request { request_id },
        (None, None, Some(service), kind, Some(start), Some(end)) => {
            let range = TimeRange::new(start, end).map_err(|e| corrupt("label", &id, e))?;
            FeedbackSubject::Span { service, kind, range }
        }
        (None, None, Some(service), Some(kind), Some(at), None) => FeedbackSubject::Breach { service, kind, at },
        _ => return Err(unreadable("it must be of a prediction, a request, a breach or a span".to_owned())),
    };
    let verdict: String = row.try_get(7).map_err(column)?;
    let source: String = row.try_get(9).map_err(column)?;
    let source: LabelSource = serde_json::from_value(source.into()).map_err(|e| corrupt("label", &id, e))?;
    Ok(Feedback {
        verdict: verdict.parse::<Verdict>().map_err(unreadable)?,
        note: row.try_get(8).map_err(column)?,
        source,
        who: row.try_get(10).map_err(column)?,
        created_at: Timestamp::from_millis(row.try_get(11).map_err(column)?),
        subject,
        id,
    })
}
