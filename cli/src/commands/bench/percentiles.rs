//! Times of repeated runs, and their comparison with a baseline.

use super::speed::{figures, milliseconds};
use crate::commands::table::Column;
use serde_json::{Value, json};

/// Percentiles of the times of repeated runs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    pub p10: f64,
    pub median: f64,
    pub p90: f64,
    pub p99: f64,
}

/// Rounds over all rows, so that a temporary disturbance does not affect the runs of one row only.
const ROUNDS: usize = 3;

/// Number of repeated runs.
#[derive(Clone, Copy, Debug)]
pub struct Repetitions {
    /// Rounds over all rows.
    pub rounds: usize,
    /// Minimum number of runs in total.
    pub runs: usize,
    /// Minimum seconds of runs in a round. Disturbances come and go more slowly than a small kernel runs.
    pub seconds: f64,
    /// Maximum number of runs in a round to reach `seconds`. More do not improve a percentile.
    pub most: usize,
}

impl Repetitions {
    /// Plans the requested number of runs, or `at_least` runs by default, and more if they take less than `seconds`.
    pub fn new(asked: Option<u32>, at_least: usize, seconds: f64) -> Repetitions {
        match asked {
            None => Repetitions { rounds: ROUNDS, runs: at_least, seconds: seconds / ROUNDS as f64, most: 1000 },
            Some(runs) => Repetitions { rounds: ROUNDS.min(runs as usize), runs: runs as usize, seconds: 0.0, most: 0 },
        }
    }

    /// Returns the minimum number of runs in a round.
    pub fn runs_of(&self, round: usize) -> usize {
        (self.runs + round) / self.rounds
    }
}

/// Minimum relative difference of medians, however small the spread of the runs. Properties such as the memory layout vary between starts of a
/// program, but not between the runs of one.
const LEAST: f64 = 0.05;

/// Paces of the machine: its ceilings in arithmetic and in memory, measured at the beginning and at the end. Empty if the device cannot time kernels.
pub type Paces = Vec<[f64; 2]>;

const KEYS: [&str; 4] = ["p10_seconds", "median_seconds", "p90_seconds", "p99_seconds"];

impl Percentiles {
    /// Computes the percentiles of at least one run.
    pub fn of(mut seconds: Vec<f64>) -> Percentiles {
        seconds.sort_by(f64::total_cmp);
        // Time that a share of the runs does not exceed.
        let quantile = |share: f64| seconds[((seconds.len() - 1) as f64 * share).round() as usize];
        Percentiles { p10: quantile(0.1), median: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) }
    }

    /// Writes the times to a row of measurements.
    pub fn enter(&self, row: &mut Value) {
        KEYS.into_iter().zip([self.p10, self.median, self.p90, self.p99]).for_each(|(key, seconds)| row[key] = figures(seconds).into());
    }

    /// Headings of [`Percentiles::cells`].
    pub const COLUMNS: [Column; 5] =
        [Column::Numbers("ms"), Column::Numbers("± ms"), Column::Numbers("p10 ms"), Column::Numbers("p90 ms"), Column::Numbers("p99 ms")];

    /// Returns the median, half the 10–90 % range, and the other percentiles, in milliseconds.
    pub fn cells(&self) -> [String; 5] {
        [self.median, self.spread(), self.p10, self.p90, self.p99].map(milliseconds)
    }

    /// Returns half the 10–90 % range, which outliers do not widen.
    pub fn spread(&self) -> f64 {
        (self.p90 - self.p10) / 2.0
    }

    /// Reads the times from a row of measurements.
    pub fn of_row(row: &Value) -> Option<Percentiles> {
        let [p10, median, p90, p99] = KEYS.map(|key| row[key].as_f64());
        let times = Percentiles { p10: p10?, median: median?, p90: p90?, p99: p99? };
        (is_time(times.p10) && times.p10 <= times.median && times.median <= times.p90 && is_time(times.p90)).then_some(times)
    }

    /// Compares with a baseline. A change is beyond noise if it separates the middle 80 % of the runs of both, and if the machine's pace, which
    /// depends on its other users, does not explain it.
    pub fn since(&self, before: &Percentiles, [paces, paces_before]: [&Paces; 2]) -> Change {
        // What a coarse clock did not see took less than its step.
        let seen = |seconds: f64| if seconds == 0.0 { 1e-9 } else { seconds };
        let ratio = seen(self.median) / seen(before.median);
        let pairs = paces.iter().flat_map(|now| paces_before.iter().map(move |before| (now, before)));
        let explained = pairs.flat_map(|(now, before)| [before[0] / now[0], before[1] / now[1]]);
        let (least, most) = explained.fold((1.0_f64, 1.0_f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
        let verdict = if self.p90 < least * before.p10 && ratio < least * (1.0 - LEAST) {
            "faster"
        } else if self.p10 > most * before.p90 && ratio > most * (1.0 + LEAST) {
            "slower"
        } else {
            "within noise"
        };
        Change { before: before.median, ratio, verdict }
    }
}

/// Whether this may be the seconds of a run. A coarse clock may return 0.
fn is_time(seconds: f64) -> bool {
    (0.0..1e9).contains(&seconds)
}

/// Comparison of a time with the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Median of the baseline, in seconds.
    pub before: f64,
    /// New median divided by that of the baseline.
    pub ratio: f64,
    /// `faster`, `slower` or `within noise`.
    pub verdict: &'static str,
}

impl Change {
    pub fn json(&self) -> Value {
        json!({ "median_seconds_before": figures(self.before), "time_ratio": figures(self.ratio), "verdict": self.verdict })
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} × the {} ms before: {}", self.ratio, milliseconds(self.before), self.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_beyond_both_spreads_count_as_changes() {
        let around = |center: f64, spread: f64| Percentiles::of((0..11).map(|i| center + spread * f64::from(i - 5) / 4.0).collect());
        let steady = Paces::new();
        let verdict = |new: Percentiles, old: Percentiles| new.since(&old, [&steady, &steady]).verdict;
        assert_eq!(verdict(around(1.0, 0.1), around(1.0, 0.1)), "within noise");
        assert_eq!(verdict(around(1.15, 0.1), around(1.0, 0.1)), "within noise");
        assert_eq!(verdict(around(1.25, 0.1), around(1.0, 0.1)), "slower");
        assert_eq!(verdict(around(0.75, 0.1), around(1.0, 0.1)), "faster");
        // No spread, but too small a difference.
        assert_eq!(verdict(around(1.04, 0.0), around(1.0, 0.0)), "within noise");
        assert_eq!(verdict(around(1.06, 0.0), around(1.0, 0.0)), "slower");
        assert!((around(0.5, 0.0).since(&around(1.0, 0.0), [&steady, &steady]).ratio - 0.5).abs() < 1e-12);
    }

    #[test]
    fn changes_explained_by_machine_pace_are_noise() {
        let exactly = |seconds: f64| Percentiles::of(vec![seconds; 5]);
        let verdict =
            |new: f64, paces: &[[f64; 2]], before: &[[f64; 2]]| exactly(new).since(&exactly(1.0), [&paces.to_vec(), &before.to_vec()]).verdict;
        assert_eq!(verdict(1.4, &[[10.0, 5.0]], &[[10.0, 5.0]]), "slower");
        assert_eq!(verdict(1.4, &[[10.0, 5.0], [7.0, 5.0]], &[[10.0, 5.0]]), "within noise", "a slow end");
        assert_eq!(verdict(1.4, &[[10.0, 3.5]], &[[10.0, 5.0]]), "within noise", "a slow memory");
        assert_eq!(verdict(1.6, &[[7.0, 5.0]], &[[10.0, 5.0]]), "slower", "more than that");
        assert_eq!(verdict(0.7, &[[10.0, 5.0]], &[[7.0, 5.0]]), "within noise");
        assert_eq!(verdict(0.7, &[[7.0, 5.0]], &[[10.0, 5.0]]), "faster", "though the machine was slower");
    }

    #[test]
    fn repetitions_add_up_to_the_requested_runs() {
        for asked in 1..20 {
            let repetitions = Repetitions::new(Some(asked), 9, 1.0);
            assert_eq!((0..repetitions.rounds).map(|round| repetitions.runs_of(round)).sum::<usize>(), asked as usize);
            assert!((0..repetitions.rounds).all(|round| repetitions.runs_of(round) > 0) && repetitions.seconds == 0.0);
        }
        let repetitions = Repetitions::new(None, 10, 0.6);
        assert_eq!(((0..repetitions.rounds).map(|round| repetitions.runs_of(round)).sum::<usize>(), repetitions.rounds), (10, 3));
    }

    #[test]
    fn percentiles_round_trip_and_reject_invalid_rows() {
        let times = Percentiles::of(vec![3.0, 1.0, 2.0]);
        let mut row = json!({ "batch": 1 });
        times.enter(&mut row);
        assert_eq!((times.median, &row["batch"], Percentiles::of_row(&row)), (2.0, &json!(1), Some(times)));
        row["p10_seconds"] = json!(2.5);
        assert_eq!(Percentiles::of_row(&row), None, "more than the median");
        assert_eq!(Percentiles::of_row(&json!({ "median_seconds": 1.0 })), None);
    }
}
