//! Times of a plan's steps, as far as they are known.

use std::ops::Range;

/// Share of a speed-up that is believed at once: a GPU that was idle runs slower for a while.
const TRUST: f64 = 0.25;

/// Largest factor by which one slice raises times.
const MOST: f64 = 4.0;

/// Seconds per step.
#[derive(Debug)]
pub(super) struct StepTimes(Vec<f64>);

impl StepTimes {
    pub fn new(seconds: Vec<f64>) -> StepTimes {
        StepTimes(seconds)
    }

    /// Returns the steps from `first` on that fit in a budget of which `used` is spent; at least one if nothing is spent.
    pub fn fitting(&self, first: usize, mut used: f64, budget: f64) -> Range<usize> {
        let fits = |seconds: &&f64| {
            let fits = used == 0.0 || used + **seconds <= budget;
            used += **seconds;
            fits
        };
        first..first + self.0[first..].iter().take_while(fits).count()
    }

    /// Learns how long some steps took together. A longer time is believed, a shorter one only in part.
    pub fn learn(&mut self, steps: Range<usize>, seconds: f64) {
        let expected: f64 = self.0[steps.clone()].iter().sum();
        if expected > 0.0 && seconds > 0.0 {
            let ratio = seconds / expected;
            let factor = if ratio > 1.0 { ratio.min(MOST) } else { 1.0 - TRUST * (1.0 - ratio) };
            self.0[steps].iter_mut().for_each(|seconds| *seconds *= factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_stays_within_budget_except_for_single_steps() {
        let times = StepTimes::new(vec![3.0, 4.0, 2.0, 9.0, 1.0]);
        assert_eq!(times.fitting(0, 0.0, 7.0), 0..2);
        assert_eq!(times.fitting(0, 0.0, 6.9), 0..1);
        assert_eq!(times.fitting(2, 0.0, 6.9), 2..3);
        assert_eq!(times.fitting(3, 0.0, 6.9), 3..4, "a step that is longer than the budget comes alone");
        assert_eq!(times.fitting(3, 1.0, 6.9), 3..3, "unless something is used already");
        assert_eq!(times.fitting(0, 0.0, f64::INFINITY), 0..5);
        assert_eq!(times.fitting(5, 0.0, 1.0), 5..5);
    }

    #[test]
    fn step_estimates_rise_fast_and_fall_slowly() {
        let mut times = StepTimes::new(vec![1.0, 0.0, 3.0, 5.0]);
        times.learn(0..3, 8.0);
        assert_eq!(times.0, [2.0, 0.0, 6.0, 5.0]);
        times.learn(0..3, 4.0);
        assert_eq!(times.0, [1.75, 0.0, 5.25, 5.0]);
        times.learn(3..4, 5000.0);
        assert_eq!(times.0[3], 20.0);
        times.learn(1..2, 1.0);
        assert_eq!(times.0[1], 0.0);
    }
}
