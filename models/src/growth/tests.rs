use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const DAY: f64 = 1440.0;

/// The load at a minute: three times as much at noon as at midnight.
fn load(minute: f64) -> f64 {
    1.0 - 0.5 * (minute / DAY * std::f64::consts::TAU).cos()
}

/// A run of so many minutes from a start in the morning, with noise of one hundredth.
struct Made {
    fractions: Vec<f64>,
    loads: Vec<f64>,
    course: Course,
}

const BEGIN: f64 = 400.0;

fn made(minutes: usize, seed: u64, way: impl Fn(f64, f64) -> f64) -> Made {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut passed, mut fractions, mut loads) = (0.0, Vec::new(), Vec::new());
    for minute in 0..minutes {
        let load = load(BEGIN + minute as f64);
        passed += load;
        fractions.push(way(minute as f64, passed) + 0.1 * (load - 1.0) + 0.01 * (rng.random::<f64>() - 0.5));
        loads.push(load);
    }
    Made { course: Course::of_steps(&fractions, &loads), fractions, loads }
}

impl Made {
    fn run(&self) -> Run<'_> {
        Run {
            course: &self.course,
            start: Start::Seen,
            share: LoadShare { mean: 0.1, spread: 0.01 },
            least_rise: 0.05,
            peaks: 0.0,
            elastic: false,
            saw: None,
        }
    }

    fn passage(&self) -> Passage {
        passage(&Growth::fit(&self.run()).unwrap(), self.fractions.len())
    }
}

fn passage(growth: &Growth, now: usize) -> Passage {
    let steps: Vec<f64> = (1..=1000).map(|i| 10.0 * f64::from(i)).collect();
    growth.passage(&Ahead::look(steps, |ahead| load(BEGIN + now as f64 + ahead)))
}

fn assert_near(passage: &Passage, truth: f64) {
    let [p10, p50, p90] = [0.1, 0.5, 0.9].map(|q| passage.quantile(q).unwrap());
    assert!((p50 - truth).abs() < 0.15 * truth, "{p10} {p50} {p90}, truth {truth}");
    assert!(p10 < truth && truth < p90, "{p10} {p50} {p90} does not hold {truth}");
}

#[test]
fn a_steady_leak_is_seen_through_the_day_and_the_night() {
    // From 0.2 by 0.8 in 40 hours: at half of the way, 20 hours are left, whatever the load does to it meanwhile.
    let leak = made(1200, 1, |minute, _| 0.2 + 0.8 * minute / 2400.0);
    let passage = leak.passage();
    // The share of the load at the end counts as well: the limit is passed where the sum is 1.
    let truth = (1..)
        .map(f64::from)
        .find(|m| 0.2 + 0.8 * (1200.0 + m) / 2400.0 + 0.1 * (load(BEGIN + 1200.0 + m) - 1.0) >= 1.0);
    assert_near(&passage, truth.unwrap());
}

#[test]
fn a_leak_that_grows_with_load_sleeps_at_night() {
    let per_load = 0.8 / 2400.0;
    let leak = made(1300, 2, |_, passed| 0.2 + per_load * passed);
    let (growth, mut passed) =
        (Growth::fit(&leak.run()).unwrap(), (0..1300).map(|m| load(BEGIN + f64::from(m))).sum::<f64>());
    assert_eq!(growth.likeliest(), (Shape::Linear, Clock::Load));
    let truth = (1..).map(f64::from).find(|m: &f64| {
        let load = load(BEGIN + 1300.0 + m);
        passed += load;
        0.2 + per_load * passed + 0.1 * (load - 1.0) >= 1.0
    });
    assert_near(&passage(&growth, 1300), truth.unwrap());
}

#[test]
fn an_accelerating_leak_is_not_taken_for_a_line_once_it_bends() {
    let way = |minute: f64| 0.3 + 0.7 * (3.0 * minute / 2000.0).exp_m1() / 3.0_f64.exp_m1();
    let leak = made(1500, 3, |minute, _| way(minute));
    let growth = Growth::fit(&leak.run()).unwrap();
    assert_eq!(growth.likeliest().0, Shape::Accelerating);
    let truth = (1..).map(f64::from).find(|m: &f64| way(1500.0 + m) + 0.1 * (load(BEGIN + 1500.0 + m) - 1.0) >= 1.0);
    let p50 = passage(&growth, 1500).quantile(0.5).unwrap();
    let truth = truth.unwrap();
    assert!((p50 - truth).abs() < 0.3 * truth, "{p50}, truth {truth}");
}

#[test]
fn a_level_a_plateau_and_a_warm_up_never_arrive() {
    let level = made(3000, 4, |_, _| 0.7);
    assert!(level.passage().within(10_000.0) < 0.05, "{}", level.passage().within(10_000.0));
    let plateau = made(2500, 5, |minute, _| 0.3 + 0.4 * (1.0 - (-minute / 500.0).exp()));
    assert!(plateau.passage().within(360.0) < 0.05);
    assert_eq!(plateau.passage().quantile(0.5), None);
    let warming = made(150, 6, |minute, _| 0.2 + 0.25 * (1.0 - (-minute / 60.0).exp()));
    let growth = Growth::fit(&Run { start: Start::Fresh, ..warming.run() }).unwrap();
    assert!(passage(&growth, 150).within(360.0) < 0.3, "{}", passage(&growth, 150).within(360.0));
}

#[test]
fn memory_under_a_collector_is_judged_by_its_troughs() {
    // The floor goes from 0.3 to 1 in 40 hours; a tooth of 0.2 falls every 50 minutes.
    let floor = |minute: f64| 0.3 + 0.7 * minute / 2400.0;
    let saw = made(1200, 7, |minute, _| floor(minute - minute % 50.0) + 0.2 * (minute % 50.0) / 50.0);
    let run = Run { elastic: true, ..saw.run() };
    let p50 = passage(&Growth::fit(&run).unwrap(), 1200).quantile(0.5).unwrap();
    assert!((p50 - 1200.0).abs() < 180.0, "{p50}: by its peaks it would be half a day earlier");
    // Fewer troughs than can be judged: nothing is said where the saw is known, although it climbs.
    let tooth = Saw::learn(std::iter::once(&saw.fractions[..])).unwrap();
    let few = Course::of_steps(&saw.fractions[..120], &saw.loads[..120]);
    assert!(Growth::fit(&Run { course: &few, elastic: true, saw: Some(tooth), ..saw.run() }).is_none());
}

#[test]
fn what_began_late_in_a_long_run_is_looked_at_closely() {
    let leak = made(7000, 8, |minute, _| 0.3 + 0.6 * (minute - 6600.0).max(0.0) / 800.0);
    assert_near(&leak.passage(), 530.0);
}

#[test]
fn siblings_settle_what_one_alone_leaves_open_and_never_whether_it_grows() {
    let leak = made(900, 9, |minute, _| 0.2 + 0.4 * minute / 1500.0);
    let mut growth = Growth::fit(&leak.run()).unwrap();
    let grows = growth.probability_of_growth();
    growth.weigh(&[0.0, 0.0, 1.0, 0.0, 0.0]);
    assert!((growth.probability_of_growth() - grows).abs() < 1e-9);
    assert_eq!(growth.likeliest(), (Shape::Accelerating, Clock::Time));
    let level = made(900, 10, |_, _| 0.5);
    assert!(Growth::fit(&level.run()).unwrap().evidence().is_none());
}

#[test]
fn the_share_of_the_load_is_learnt_from_most_days() {
    let days: Vec<Made> = (0..5).map(|d| made(1440, 20 + d, |m, _| if d == 3 { m / 1440.0 } else { 0.4 })).collect();
    let share = LoadShare::learn(days.iter().map(|d| (&d.fractions[..], &d.loads[..])));
    assert!((share.mean - 0.1).abs() < 0.01 && share.spread <= 0.02, "{share:?}");
    assert_eq!(LoadShare::learn(std::iter::empty()), LoadShare::default());
}

proptest! {
    #[test]
    fn a_bin_is_the_median_of_its_steps_however_they_are_remembered(
        values in prop::collection::vec((1..9_usize, 0.0..2.0_f64), 40..200), from in 0..20_usize,
    ) {
        let wide: Vec<Stretch> =
            values.iter().map(|(steps, value)| Stretch { steps: *steps, value: *value, load: *value, trough: f64::NAN }).collect();
        let steps: Vec<f64> = values.iter().flat_map(|(steps, value)| std::iter::repeat_n(*value, *steps)).collect();
        let single = Course::of_steps(&steps, &steps);
        let wide = Course { stretches: wide, ..single.clone() };
        let cut = |course: &Course| Bins::cut(course, from, false, None).map(|bins| (bins.values, bins.time, bins.loads.len()));
        prop_assert_eq!(cut(&wide), cut(&single));
        let bins = Bins::cut(&wide, from, false, None).unwrap();
        let first = &mut steps[steps.len() - bins.values.len() * bins.width..][..bins.width].to_vec();
        prop_assert_eq!(bins.values[0], forewarn_features::seasonal::median(first));
    }

    #[test]
    fn any_run_gives_probabilities_that_never_fall(
        fractions in prop::collection::vec(prop_oneof![4 => -0.5..2.0_f64, 1 => Just(f64::NAN)], 0..400),
        level in 0.0..3.0_f64,
        start in prop_oneof![Just(Start::Unseen), Just(Start::Seen), Just(Start::Fresh)],
        elastic: bool,
    ) {
        let loads = vec![level; fractions.len()];
        let share = LoadShare::default();
        let course = Course::of_steps(&fractions, &loads);
        let run = Run { course: &course, start, share, least_rise: 0.05, peaks: 0.02, elastic, saw: None };
        if let Some(growth) = Growth::fit(&run) {
            let steps: Vec<f64> = (1..100).map(|i| f64::from(i * i)).collect();
            let ahead = Ahead::look(steps.to_vec(), |_| level);
            let passage = growth.passage(&ahead);
            let mut before = 0.0;
            for s in steps.iter().copied() {
                let p = passage.within(s);
                prop_assert!((before - 1e-9..=1.0 + 1e-9).contains(&p), "{p} after {before}");
                before = p;
            }
            for fan in growth.fan(&ahead) {
                prop_assert!(fan.low <= fan.mid && fan.mid <= fan.high);
            }
        }
    }
}

#[test]
fn a_leak_of_two_hours_is_seen_where_nothing_was_learnt() {
    // However long the quiet days before it are.
    for before in [300, 1000, 1880, 3500, 7080] {
        let way = |since: f64| 0.1 + 0.9 * since.max(0.0) / 240.0;
        let leak = made(before + 120, 11, |minute, _| way(minute - before as f64));
        let course = Course::of_steps(&leak.fractions, &vec![1.0; leak.loads.len()]);
        let run =
            Run { course: &course, start: Start::Unseen, share: LoadShare::default(), least_rise: 0.2, ..leak.run() };
        let growth = Growth::fit(&run).unwrap();
        let steps: Vec<f64> = (1..=1000).map(|i| 10.0 * f64::from(i)).collect();
        let p50 = growth.passage(&Ahead::look(steps.to_vec(), |_| 1.0)).quantile(0.5);
        // The wave that it does not know of moves the truth, too.
        let wave = |ahead: f64| 0.1 * (load(BEGIN + (before + 120) as f64 + ahead) - 1.0);
        let truth = (1..).map(f64::from).find(|ahead: &f64| way(120.0 + ahead) + wave(*ahead) >= 1.0).unwrap();
        let (likeliest, grows) = (growth.likeliest(), growth.probability_of_growth());
        let near = p50.is_some_and(|p50| (p50 - truth).abs() < 0.25 * truth);
        assert!(near, "{before} before: {p50:?}, truth {truth}; {likeliest:?} {grows}");
    }
}

#[test]
fn a_forecaster_of_the_normal_puts_nothing_off_and_may_hasten() {
    let leak = made(600, 3, |minute, _| 0.1 + 0.85 * minute / 600.0);
    let growth = Growth::fit(&leak.run()).unwrap();
    let steps: Vec<f64> = (1..=200).map(|i| 5.0 * f64::from(i)).collect();
    let alone = growth.passage(&Ahead::look(steps.clone(), |_| 1.0));
    let median = |passage: &Passage| passage.quantile(0.5).unwrap();
    let never = alone.clone().hastened(|_| 0.0, 60.0);
    assert_eq!(never, alone, "it has never been shown a way to a limit");
    let sooner = alone.clone().hastened(|_| 1.0, 60.0);
    assert!(median(&sooner) < median(&alone) && (sooner.within(5.0) - (1.0 + alone.within(5.0)) / 2.0).abs() < 1e-12);
}
