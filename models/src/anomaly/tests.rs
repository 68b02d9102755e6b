use super::*;
use forewarn_testkit::noise::Noise;
use proptest::prelude::*;

fn scores(rows: impl IntoIterator<Item = Vec<f64>>, scorer: &mut AnomalyScorer) -> Vec<f64> {
    rows.into_iter().map(|row| scorer.push(&row)).collect()
}

/// A daily wave with noise, in as many columns, 288 rows a day.
fn days(rows: usize, columns: usize) -> Vec<Vec<f64>> {
    let noise = Noise::new(5);
    let value = |i: usize, j: usize| {
        let wave = (i as f64 * std::f64::consts::TAU / 288.0).sin();
        100.0 + 10.0 * wave + noise.normal(j as u64, i as i64)
    };
    (0..rows).map(|i| (0..columns).map(|j| value(i, j)).collect()).collect()
}

fn highest(scores: &[f64]) -> usize {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap()
}

#[test]
fn a_spike_is_an_alarm_once_and_healthy_rows_are_none() {
    for columns in [1, 5] {
        let mut rows = days(3000, columns);
        for row in &mut rows[2000..2005] {
            row.iter_mut().for_each(|v| *v += 80.0);
        }
        let scores = scores(rows, &mut AnomalyScorer::new(columns));
        let alarms: Vec<usize> = (0..scores.len()).filter(|i| scores[*i] >= ALARM_LEVEL).collect();
        assert_eq!(alarms, [2000], "of {columns} columns");
        assert!(scores[2001..2005].iter().all(|s| *s > 0.25), "held: {:?}", &scores[2001..2005]);
    }
}

#[test]
fn a_level_shift_is_found_where_it_begins_and_held() {
    let mut rows = days(3000, 3);
    for row in &mut rows[2000..] {
        row[1] += 60.0;
        row[2] -= 60.0;
    }
    let scores = scores(rows, &mut AnomalyScorer::new(3));
    assert_eq!(highest(&scores), 2000);
    let before = scores[1700..2000].iter().copied().fold(0.0, f64::max);
    assert!(scores[2001..2100].iter().all(|s| *s > before), "held above the {before} from before");
}

#[test]
fn columns_that_part_are_found_though_each_is_usual() {
    let mut rows = days(3000, 2);
    for row in &mut rows {
        row[1] = 2.0 * row[0];
    }
    for row in &mut rows[2160..2190] {
        row[1] = 400.0 - row[1];
    }
    let scores = scores(rows, &mut AnomalyScorer::new(2));
    assert!((2160..2190).contains(&highest(&scores)), "highest at {}", highest(&scores));
}

#[test]
fn after_its_training_rows_what_is_usual_stays() {
    // A shift that stays is learnt by the one that goes on learning, and is none the nearer for the one that does not.
    let mut rows = days(6000, 2);
    for row in &mut rows[1500..] {
        row.iter_mut().for_each(|v| *v += 40.0);
    }
    let learning = scores(rows.clone(), &mut AnomalyScorer::new(2));
    let trained = scores(rows, &mut AnomalyScorer::new(2).learning_from_the_first(1000));
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    assert!(mean(&trained[5000..]) > 3.0 * mean(&learning[5000..]));
}

#[test]
fn constants_gaps_and_huge_values_are_no_anomaly() {
    let rows = (0..600).map(|i| {
        let gap = if i % 7 == 0 { f64::NAN } else { 3.0 };
        let huge = [f64::MAX, f64::INFINITY, f64::NEG_INFINITY][i % 3];
        vec![gap, huge, 0.1 + 0.2]
    });
    assert!(scores(rows, &mut AnomalyScorer::new(3)).iter().all(|s| *s == 0.0));
}

#[test]
fn a_constant_that_moves_is_an_alarm() {
    let rows = (0..400).map(|i| vec![if i == 300 { 1.0 } else { 0.0 }]);
    let scores = scores(rows, &mut AnomalyScorer::new(1));
    assert_eq!(highest(&scores), 300);
    assert!(scores[300] >= ALARM_LEVEL);
}

#[test]
fn rows_of_the_wrong_length_and_no_columns_are_taken() {
    let mut scorer = AnomalyScorer::new(2);
    for row in [&[][..], &[1.0], &[1.0, 2.0, 3.0]] {
        assert_eq!(scorer.push(row), 0.0);
    }
    assert_eq!(AnomalyScorer::new(0).push(&[]), 0.0);
}

#[test]
fn a_table_wider_than_a_block_is_scored() {
    let mut rows = days(400, 150);
    rows[350].iter_mut().for_each(|v| *v = -500.0);
    let scores = scores(rows, &mut AnomalyScorer::new(150));
    assert_eq!(highest(&scores), 350);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Bit for bit, and always a number between 0 and 1.
    #[test]
    fn the_scores_of_a_prefix_are_the_prefix_of_the_scores(
        rows in prop::collection::vec(prop::array::uniform3(prop_oneof![
            6 => -10.0..10.0, 2 => Just(5.0), 1 => Just(f64::NAN), 1 => any::<f64>(),
        ]), 100..400),
        share in 0.1..1.0,
        train in prop::option::of(20_usize..200),
    ) {
        let rows: Vec<Vec<f64>> = rows.into_iter().map(Vec::from).collect();
        let new = || match train {
            Some(train) => AnomalyScorer::new(3).learning_from_the_first(train),
            None => AnomalyScorer::new(3),
        };
        let prefix = (rows.len() as f64 * share) as usize;
        let part = scores(rows[..prefix].to_vec(), &mut new());
        let whole = scores(rows, &mut new());
        let bits = |scores: &[f64]| scores.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&part), bits(&whole[..prefix]));
        prop_assert!(whole.iter().all(|s| (0.0..=1.0).contains(s)), "{:?}", whole);
    }
}
