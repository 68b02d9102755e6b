use proptest::prelude::*;

use super::*;

/// The rules once more, in one look over all points: what a walk must find, however the points come.
fn in_one_look(points: &[Point], rules: Rules) -> Walked {
    let mut walked = Walked::default();
    let (mut life, mut back_since, mut calm) = (0, None::<Timestamp>, 0.0);
    let mut armed = points.first().is_some_and(|p| rules.nearness(p) < 0.0);
    for (i, point) in points.iter().enumerate() {
        let near = rules.nearness(point);
        let reached = near >= 0.0 && (rules.kind != BreachKind::ErrorRate || lasts(&points[i..], rules));
        if reached && armed {
            let (way, usual) = way_to(&points[life..=i], rules);
            calm = usual.min(0.0) * GONE_BACK;
            walked.ways.push(way);
            armed = false;
        }
        if !armed {
            let is_back = !reached && near <= calm;
            back_since = if is_back { back_since.or(Some(point.at)) } else { None };
            armed = back_since.is_some_and(|since| point.at >= since + REARM);
            if !is_back {
                life = i + 1;
                walked.ways.last_mut().into_iter().for_each(|way| way.over = point.at);
            }
        }
        if reached || rules.direction != Direction::Above || point.value <= 0.0 {
            continue;
        }
        let Some(next) = points.get(i + 1) else { continue };
        let (fell, vanished) = (fell(point, next), next.at > point.at + ENDED);
        let value = |of: &[Point]| median(of.iter().map(|p| p.value));
        let before = value(&points[(i + 1).saturating_sub(STEADY).max(life)..=i]);
        let after = value(&points[i + 1..(i + 1 + STEADY).min(points.len())]);
        let is_reset =
            before.zip(after).is_some_and(|(before, after)| before >= point.limit * FALL && after <= before * FALL);
        if rules.kind == BreachKind::Oom && point.value >= point.limit * OOM_NEAR && (fell || vanished) && armed {
            let held = points[life..=i].iter().rposition(|p| p.value != point.value).map_or(life, |p| life + p + 1);
            walked.ways.push(way_to(&points[life..=held], rules).0);
            life = i + 1;
        } else if fell && is_reset {
            walked.averted.extend(averted(&points[life..=i], rules));
            walked.resets.push(Reset { at: next.at, would_have: WouldHave::Unknown });
            life = i + 1;
        }
    }
    if life < points.len() {
        walked.averted.extend(averted(&points[life..], rules));
    }
    walked
}

fn walked(points: &[Point], rules: Rules) -> Walked {
    let (mut walker, mut walked) = (Walker::default(), Walked::default());
    for point in points {
        walker.push(*point, rules, &points, &mut walked);
    }
    walker.finish(rules, &points, &mut walked);
    walked
}

/// Climbs, levels, falls and gaps, as fractions of the limit; what is negative is not seen.
fn values() -> impl Strategy<Value = Vec<f64>> {
    let piece = (0..5_u8, 1..90_usize, 0.0..1.2_f64, 0.0..1.2_f64).prop_map(|(shape, len, from, to)| {
        let part = |i: usize| i as f64 / len as f64;
        let value = move |i: usize| match shape {
            0 => from + (to - from) * part(i),
            1 => from,
            2 => from * if i.is_multiple_of(2) { 1.0 } else { 0.4 },
            3 => from + 0.05 * (i as f64 * 12.9898).sin(),
            _ => -1.0,
        };
        (0..len).map(value).collect::<Vec<f64>>()
    });
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

fn points(values: &[f64], limit: f64) -> Vec<Point> {
    let seen = values.iter().enumerate().filter(|(_, v)| **v >= 0.0);
    let point = |(m, value): (usize, &f64)| Point {
        at: Timestamp::from_seconds(m as i64 * 60),
        value: value * limit,
        limit,
        would_have: WouldHave::Unknown,
    };
    seen.map(point).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_step_at_a_time_finds_what_one_look_over_all_finds(
        values in values(), kind in prop::sample::select(BreachKind::ALL.to_vec()), below in any::<bool>(),
    ) {
        let direction = if below { Direction::Below } else { Direction::Above };
        let rules = Rules { kind, direction };
        let points = points(&values, 64.0);
        prop_assert_eq!(walked(&points, rules), in_one_look(&points, rules));
    }
}

#[test]
fn what_would_have_been_is_what_was_said_last() {
    let at = Timestamp::from_seconds(1000);
    assert_eq!(WouldHave::At(at).by(at), Some(true));
    assert_eq!(WouldHave::At(at).by(Timestamp::from_seconds(999)), None, "later than was said: nobody can tell");
    assert_eq!((WouldHave::None.by(at), WouldHave::Unknown.by(at)), (Some(false), None));
}
