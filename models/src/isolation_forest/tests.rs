//! Claims about the isolation forest, against hand-computed values and rows with a known oddity.

use super::*;
use crate::isolation_forest::build::Cut;
use crate::isolation_forest::{Attribution, IsolationForestError, IsolationForestParams};
use crate::{NamedTensor, TensorData};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const FEATURES: usize = 4;

/// `n` rows of `FEATURES` values around 0, roughly normal with deviation 1.
fn quiet_rows(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Twelve uniform draws have variance 1.
    (0..n * FEATURES).map(|_| (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0).collect()
}

fn fit(rows: &[f32], threads: usize) -> IsolationForest {
    let params = IsolationForestParams::default().check().unwrap();
    params.fit_with_threads(rows, FEATURES, threads).unwrap()
}

#[test]
fn average_path_length_is_the_papers() {
    let expected = [(0, 0.0), (1, 0.0), (2, 1.0), (3, 5.0 / 3.0), (4, 13.0 / 6.0), (5, 77.0 / 30.0)];
    for (n, c) in expected {
        assert!((average_path_length(n) - c).abs() < 1e-12, "c({n}) = {}", average_path_length(n));
    }
    // The series takes over without a jump: c(n + 1) - c(n) = 2/n - 2/(n (n + 1)) = 2 / (n + 1).
    for n in [255_u32, 256, 257, 258, 10_000] {
        let step = average_path_length(n as usize + 1) - average_path_length(n as usize);
        assert!((step - 2.0 / f64::from(n + 1)).abs() < 1e-12, "c({}) - c({n}) = {step}", n + 1);
    }
}

#[test]
fn outlier_scores_high_and_inliers_low() {
    let forest = fit(&quiet_rows(2_000, 1), 1);
    assert!(forest.score(&[9.0, -9.0, 9.0, -9.0]) > 0.7);
    let centre = forest.score(&[0.0; FEATURES]);
    assert!(centre < 0.4);
    // One odd feature of four is met by a cut in four, so the score of the row rises, but not as far.
    assert!(forest.score(&[0.0, 9.0, 0.0, 0.0]) > centre + 0.1);
    let unseen = quiet_rows(500, 2);
    let mut scores = vec![0.0; 500];
    forest.score_rows(&unseen, &mut scores, 1);
    let low = scores.iter().filter(|score| **score < 0.5).count();
    assert!(low > 350, "only {low} of 500 normal rows score below 0.5");
}

#[test]
fn threads_do_not_change_bits() {
    let mut rows = quiet_rows(1_003, 3);
    rows[17] = f32::NAN;
    let forest = fit(&rows, 1);
    assert_eq!(forest, fit(&rows, 3));

    let one_by_one: Vec<f64> = rows.chunks(FEATURES).map(|row| forest.score(row)).collect();
    for threads in [0, 1, 2, 7] {
        let mut scores = vec![0.0; 1_003];
        forest.score_rows(&rows, &mut scores, threads);
        assert_eq!(scores, one_by_one, "{threads} threads");
    }
}

#[test]
fn path_length_of_a_tree_is_as_computed_by_hand() {
    // Root cuts feature 0 at 1: left is a leaf of 3 rows, right is cut on feature 1 at 5 into 2 and 1.
    let cut = |feature, threshold, left| Some(Cut { feature, threshold, left });
    let tree = [(cut(0, 1.0, 1), 6), (None, 3), (cut(1, 5.0, 3), 3), (None, 2), (None, 1)]
        .map(|(cut, size)| TreeNode { cut, size });
    let forest = IsolationForest::from_trees(2, 6, &[tree.to_vec()]);

    let left = 1.0 + 5.0 / 3.0;
    let (near, far) = (2.0 + 1.0, 2.0);
    for (row, expected) in [
        ([0.0, 9.0], left),
        ([1.0, 4.9], near),
        ([1.0, 5.0], far),
        // Half of the training rows went left; behind the right side, two thirds did.
        ([f32::NAN, 5.0], 0.5 * left + 0.5 * far),
        ([2.0, f32::NAN], (2.0 * near + far) / 3.0),
        // With nothing known it is the mean of the training rows.
        ([f32::NAN, f32::NAN], (3.0 * left + 2.0 * near + far) / 6.0),
        // Infinite values are beyond every threshold, not an error.
        ([f32::INFINITY, f32::INFINITY], far),
        ([f32::INFINITY, f32::NEG_INFINITY], near),
        ([f32::NEG_INFINITY, f32::INFINITY], left),
    ] {
        assert!((forest.path_length(&row) - expected).abs() < 1e-12, "{row:?}");
    }

    // The first cut made the path longer, so all the credit goes to the second.
    assert_eq!(forest.explain(&[1.0, 5.0]), [0.0, 1.0]);
    assert_eq!(forest.explain(&[f32::NAN, f32::NAN]), [0.5, 0.5]);
    // Expected are 2.67 edges at the root and right of it, too; the cut of feature 1 leaves 2 of them.
    let Attribution { baseline, contributions } = forest.attribute(&[1.0, 5.0]);
    let score_after = |edges: f64| (-edges / average_path_length(6)).exp2();
    assert!((baseline - score_after(8.0 / 3.0)).abs() < 1e-12);
    assert!(contributions[0].abs() < 1e-12);
    assert!((contributions[1] - (score_after(2.0) - score_after(8.0 / 3.0))).abs() < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Many rows at once are one row at a time, bit for bit, whatever the shape of the trees and the threads.
    #[test]
    fn batch_is_a_walk(
        seed in any::<u64>(),
        (features, trees, sample_size) in prop_oneof![
            (1_usize..6, 1_usize..40, 2_usize..300),
            // More features, more thresholds of one feature, more leaves of one tree than a byte can count.
            (250_usize..300, 1_usize..6, 2_usize..100),
            (1_usize..2, 200_usize..400, 100_usize..257),
            (1_usize..3, 1_usize..3, 2_000_usize..4_000),
        ],
        coarse in any::<bool>(),
        threads in 1_usize..4,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut value = |odd: bool| {
            let value: f32 = rng.random_range(-4.0..4.0);
            match rng.random_range(0..40) {
                0 if odd => f32::NAN,
                1 if odd => f32::INFINITY,
                2 if odd => f32::NEG_INFINITY,
                3 => 1e30 * value,
                _ if coarse => value.round(),
                _ => value,
            }
        };
        let training: Vec<f32> = (0..features * sample_size.max(50)).map(|_| value(false)).collect();
        let mut rows: Vec<f32> = (0..features * 700).map(|_| value(false)).collect();
        rows[..features * 300].iter_mut().for_each(|known| *known = value(true));
        let params = IsolationForestParams { trees, sample_size, seed }.check().unwrap();
        let forest = params.fit_with_threads(&training, features, threads).unwrap();
        // Rows that lie on thresholds.
        for (row, subtree) in rows.chunks_mut(features).skip(300).zip((0..trees).map(|tree| forest.as_trees().root(tree))) {
            if !subtree.is_leaf() {
                let (feature, threshold) = forest.as_trees().cut(subtree);
                row[feature] = threshold;
            }
        }
        let one_by_one: Vec<f64> = rows.chunks(features).map(|row| forest.score(row)).collect();
        let mut scores = vec![0.0; 700];
        forest.score_rows(&rows, &mut scores, threads);
        prop_assert_eq!(scores, one_by_one);
    }

    /// Baseline and contributions are the score, also of rows with missing and infinite values.
    #[test]
    fn contributions_add_up_to_the_score(
        seed in any::<u64>(),
        row in prop::collection::vec(
            prop_oneof![-10.0_f32..10.0, prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0])],
            FEATURES,
        ),
    ) {
        let params = IsolationForestParams { trees: 20, sample_size: 64, seed }.check().unwrap();
        let mut rows = quiet_rows(100, seed);
        rows[5] = f32::NAN;
        let forest = params.fit(&rows, FEATURES).unwrap();
        let Attribution { baseline, contributions } = forest.attribute(&row);
        let sum = baseline + contributions.iter().sum::<f64>();
        prop_assert!((sum - forest.score(&row)).abs() < 1e-12, "{} is not {}", sum, forest.score(&row));
        for (value, contribution) in row.iter().zip(&contributions) {
            prop_assert!(!value.is_nan() || *contribution == 0.0);
        }
        // A row of which nothing is known is the average training row.
        prop_assert!((forest.score(&[f32::NAN; FEATURES]) - baseline).abs() < 1e-12);
    }
}

#[test]
fn the_papers_forest_takes_less_than_200_kb() {
    const MOST: usize = 200_000;
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let normal = quiet_rows(10_000, 9);
    let uniform: Vec<f32> = (0..10_000 * FEATURES).map(|_| rng.random()).collect();
    for (rows, what) in [(&normal, "normal"), (&uniform, "uniform")] {
        let forest = fit(rows, 1);
        assert_eq!((forest.trees(), forest.sample_size()), (100, 256));
        // Also with what explaining keeps.
        forest.explain(&rows[..FEATURES]);
        assert!(forest.memory_bytes() < MOST, "{what}: {} bytes", forest.memory_bytes());
    }
    // The worst there can be: every tree is complete, because every cut halves the rows that are left.
    let bits: Vec<f32> = (0..256).flat_map(|row| (0..8).map(move |bit| (row >> bit & 1) as f32)).collect();
    let worst = IsolationForestParams::default().check().unwrap().fit(&bits, 8).unwrap();
    assert_eq!(worst.as_trees().cuts(), 255 * 100);
    assert!(worst.memory_bytes() < MOST, "{} bytes", worst.memory_bytes());
}

#[test]
fn attribution_sums_to_one_and_names_the_odd_feature() {
    let forest = fit(&quiet_rows(2_000, 4), 1);
    for odd in 0..FEATURES {
        let mut row = [0.1, -0.2, 0.0, 0.3];
        row[odd] = 8.0;
        row[(odd + 1) % FEATURES] = f32::NAN;
        let shares = forest.explain(&row);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(shares[odd] > 0.8, "{shares:?}");
        assert_eq!(shares[(odd + 1) % FEATURES], 0.0);
    }
}

#[test]
fn constant_missing_and_few_rows_are_no_error() {
    let same = fit(&[1.0; 100 * FEATURES], 1);
    let nothing = fit(&[f32::NAN; 100 * FEATURES], 1);
    for score in [same.score(&[1.0; FEATURES]), same.score(&[7.0; FEATURES]), nothing.score(&[1.0; FEATURES])] {
        // A sum of 100 equal path lengths rounds.
        assert!((score - 0.5).abs() < 1e-12);
    }

    // One feature is missing in two rows of three: its cuts still divide the rows.
    let mut holes = quiet_rows(600, 5);
    holes.chunks_mut(FEATURES).enumerate().filter(|(row, _)| row % 3 > 0).for_each(|(_, row)| row[0] = f32::NAN);
    let holed = fit(&holes, 1);
    let centre = holed.score(&[f32::NAN, 0.0, 0.0, 0.0]);
    assert!(centre < 0.45);
    assert!(holed.score(&[9.0, 0.0, 0.0, 0.0]) > centre + 0.05);
}

#[test]
fn a_feature_that_says_nothing_does_not_matter() {
    let mut rows = quiet_rows(600, 10);
    rows.chunks_mut(FEATURES).for_each(|row| (row[1], row[2]) = (7.0, f32::NAN));
    let forest = fit(&rows, 1);
    let mut other = rows.clone();
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -3.0];
    other.chunks_mut(FEATURES).zip(odd.iter().cycle()).for_each(|(row, odd)| (row[1], row[2]) = (*odd, -odd));
    let (mut scores, mut others) = (vec![0.0; 600], vec![0.0; 600]);
    forest.score_rows(&rows, &mut scores, 1);
    forest.score_rows(&other, &mut others, 1);
    assert_eq!(scores, others);
    let Attribution { contributions, .. } = forest.attribute(&other[..FEATURES]);
    assert_eq!(contributions[1..3], [0.0, 0.0]);
    // One row, and none.
    forest.score_rows(&rows[..FEATURES], &mut others[..1], 2);
    assert_eq!(others[0], scores[0]);
    forest.score_rows(&[], &mut [], 2);
}

#[test]
fn bad_rows_and_settings_are_refused_with_where() {
    let params = IsolationForestParams::default().check().unwrap();
    assert_eq!(
        params.fit(&[0.0, 1.0, 2.0, f32::INFINITY], 2).unwrap_err().to_string(),
        "values must be finite or missing, got inf (row 1, feature 1)"
    );
    assert!(matches!(params.fit(&[0.0; 5], 2), Err(IsolationForestError::Ragged { features: 2, values: 5 })));
    assert!(matches!(params.fit(&[0.0; 2], 2), Err(IsolationForestError::TooFewRows { got: 1 })));
    let none = IsolationForestParams { trees: 0, ..Default::default() }.check();
    assert_eq!(none.unwrap_err().to_string(), "trees must be in 1..=10000, got 0");
    assert!(IsolationForestParams { trees: 10_000, sample_size: 65_536, seed: 1 }.check().is_err());
}

/// As `docs/formats/model-tensors.md` describes them: what is written down here must be read for ever.
#[test]
fn arrays_of_the_first_format_are_read() {
    let ints = |name: &str, values: &[i32]| NamedTensor {
        name: format!("forest.{name}"),
        shape: vec![values.len()],
        data: TensorData::I32(values.to_vec()),
    };
    let threshold = NamedTensor {
        name: "forest.threshold".to_owned(),
        shape: vec![6],
        data: TensorData::F32(vec![1.0, 0.0, 5.0, 0.0, 0.0, 0.0]),
    };
    let stored = [
        ints("dims", &[2, 6]),
        ints("tree_nodes", &[5, 1]),
        ints("feature", &[0, -1, 1, -1, -1, -1]),
        threshold,
        ints("left", &[1, -1, 3, -1, -1, -1]),
        ints("size", &[6, 3, 3, 2, 1, 6]),
    ];
    let forest = IsolationForest::from_tensors(&stored).unwrap();
    assert_eq!(forest.to_tensors(), stored);
    // Two edges down the first tree, none down the second.
    assert!((forest.path_length(&[1.0, 5.0]) - (2.0 + average_path_length(6)) / 2.0).abs() < 1e-12);
}

#[test]
fn stored_and_read_it_is_the_same_forest() {
    let forest = fit(&quiet_rows(300, 6), 1);
    let mut tensors = forest.to_tensors();
    tensors.push(NamedTensor { name: "lstm.head".into(), shape: vec![1], data: TensorData::F32(vec![1.0]) });
    tensors.reverse();
    assert_eq!(IsolationForest::from_tensors(&tensors).unwrap(), forest);
    tensors.push(tensors[1].clone());
    assert_eq!(IsolationForest::from_tensors(&tensors).unwrap_err().to_string(), "tensor forest.size is there twice");
}

/// Whatever is written into the arrays, reading refuses it or gives a forest that scores.
#[test]
fn corrupted_arrays_are_refused_or_harmless() {
    let params = IsolationForestParams { trees: 5, sample_size: 32, seed: 1 }.check().unwrap();
    let sound = params.fit(&quiet_rows(200, 7), FEATURES).unwrap().to_tensors();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut refused = 0;
    for _ in 0..5_000 {
        let mut tensors = sound.clone();
        let tensor = rng.random_range(0..tensors.len());
        let odd = [-1, 0, 1, 2, 5, 63, i32::MIN, i32::MAX][rng.random_range(0..8)];
        match &mut tensors[tensor].data {
            TensorData::I32(values) => {
                let at = rng.random_range(0..values.len());
                values[at] = odd;
            }
            TensorData::F32(values) => {
                let at = rng.random_range(0..values.len());
                values[at] = [f32::NAN, f32::INFINITY, -1e30][rng.random_range(0..3)];
            }
        }
        match IsolationForest::from_tensors(&tensors) {
            Err(_) => refused += 1,
            Ok(forest) => {
                let row = vec![f32::NAN; forest.features()];
                assert!((0.0..=1.0).contains(&forest.score(&row)));
                let row = vec![0.5; forest.features()];
                assert!((0.0..=1.0).contains(&forest.score(&row)));
                assert_eq!(forest.explain(&row).len(), forest.features());
                // What was accepted is stored again as it was read.
                assert_eq!(IsolationForest::from_tensors(&forest.to_tensors()).unwrap(), forest);
            }
        }
    }
    assert!(refused > 2_500, "only {refused} refused");

    for at in 0..sound.len() {
        let mut cut = sound.clone();
        cut.remove(at);
        assert!(IsolationForest::from_tensors(&cut).is_err());
        let mut reshaped = sound.clone();
        reshaped[at].shape.push(1);
        assert!(IsolationForest::from_tensors(&reshaped).is_err());
    }
}
