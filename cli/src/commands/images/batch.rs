//! Choice of the batch size.

use std::str::FromStr;

/// Largest batch of `auto`. Far larger ones are no more efficient.
const LARGEST: usize = 64;

/// Minimum speed-up for which twice the batch is worth its memory.
const WORTH: f64 = 1.1;

/// Fixed number of images, or as many as increase the speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Batch {
    Auto,
    Fixed(usize),
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Batch, String> {
        match text.parse() {
            _ if text == "auto" => Ok(Batch::Auto),
            Ok(count) if (1..=4096).contains(&count) => Ok(Batch::Fixed(count)),
            _ => Err("expected auto, or a number from 1 to 4096".to_owned()),
        }
    }
}

/// Size of the next batches. `auto` doubles it while that increases the throughput. The first batch of each size is not counted, because it includes
/// compilation.
#[derive(Debug)]
pub struct BatchSize {
    size: usize,
    grows: bool,
    /// Batches of this size so far.
    seen: usize,
    /// Images per second at half this size.
    before: f64,
}

impl BatchSize {
    pub fn new(batch: Batch) -> BatchSize {
        let size = if let Batch::Fixed(count) = batch { count } else { 1 };
        BatchSize { size, grows: batch == Batch::Auto, seen: 0, before: 0.0 }
    }

    pub fn get(&self) -> usize {
        self.size
    }

    /// Records the duration of a batch.
    pub fn learn(&mut self, count: usize, seconds: f64) {
        if !self.grows || count < self.size {
            return;
        }
        self.seen += 1;
        if self.seen < 2 {
            return;
        }
        let rate = count as f64 / seconds.max(1e-9);
        if rate < WORTH * self.before {
            (self.size, self.grows) = (self.size / 2, false);
        } else if self.size == LARGEST {
            self.grows = false;
        } else {
            (self.size, self.seen, self.before) = (2 * self.size, 0, rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_batch_grows_while_throughput_improves() {
        let settled = |seconds: fn(usize) -> f64| {
            let mut batch = BatchSize::new(Batch::Auto);
            for _ in 0..40 {
                let count = batch.get();
                batch.learn(count, seconds(count));
            }
            batch.get()
        };
        // Constant up to eight images, then proportional.
        assert_eq!(settled(|count| count.max(8) as f64), 8);
        assert_eq!(settled(|count| count as f64), 1);
        assert_eq!(settled(|_| 1.0), 64);
    }

    #[test]
    fn auto_batch_ignores_first_and_partial_batches() {
        let mut batch = BatchSize::new(Batch::Auto);
        batch.learn(1, 100.0);
        batch.learn(1, 1.0);
        assert_eq!(batch.get(), 2);
        batch.learn(1, 1e-6);
        assert_eq!(batch.get(), 2);
        let mut fixed = BatchSize::new(Batch::Fixed(5));
        fixed.learn(5, 1.0);
        fixed.learn(5, 1.0);
        assert_eq!(fixed.get(), 5);
    }

    #[test]
    fn batch_option_parses_auto_or_a_valid_size() {
        assert_eq!("auto".parse(), Ok(Batch::Auto));
        assert_eq!("8".parse(), Ok(Batch::Fixed(8)));
        for text in ["0", "-1", "many", "5000", ""] {
            assert!(text.parse::<Batch>().is_err(), "{text}");
        }
    }
}
