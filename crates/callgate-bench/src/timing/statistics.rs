//! How far two sets of times differ: does a time reveal which set it is from?

use serde::Serialize;

/// Resamples for the interval of the difference of medians.
const RESAMPLES: usize = 500;
/// Times above this quantile are due to the scheduler; Cohen's d replaces them by it.
const CUT_QUANTILE: f64 = 0.99;

/// One set compared with another. Times are in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Comparison {
    /// Median of this set less that of the other.
    pub(super) median_difference: f64,
    /// The middle 95 % of that difference over resamples of both sets.
    pub(super) interval: [f64; 2],
    /// Cohen's d, with the longest hundredth clipped.
    pub(super) d: f64,
    /// The probability that a time of this set is longer than one of the other (Mann and Whitney's U
    /// divided by the number of pairs); one half if they do not differ.
    pub(super) auc: f64,
}

impl Comparison {
    pub(super) fn of(these: &[f64], others: &[f64], random: &mut Random) -> Self {
        Self {
            median_difference: median(&mut these.to_vec()) - median(&mut others.to_vec()),
            interval: interval(these, others, random),
            d: cohens_d(these, others),
            auc: auc(these, others),
        }
    }

    /// True if neither measure exceeds what an effect of size `bound` would give.
    pub(super) fn is_within(&self, bound: f64) -> bool {
        self.d.abs() <= bound && (self.auc - 0.5).abs() <= auc_of(bound) - 0.5
    }
}

/// The AUC of two normal distributions that are `d` apart: Φ(d / √2), near its middle.
fn auc_of(d: f64) -> f64 {
    let x = d / std::f64::consts::SQRT_2;
    // The density's series at 0; good to 10⁻⁵ up to d = 0.5.
    0.5 + (x - x.powi(3) / 6.0 + x.powi(5) / 40.0) / (2.0 * std::f64::consts::PI).sqrt()
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

fn interval(these: &[f64], others: &[f64], random: &mut Random) -> [f64; 2] {
    let mut redrawn = |values: &[f64]| {
        let draw = |_: &f64| values.get(random.below(values.len())).copied().unwrap_or_default();
        median(&mut values.iter().map(draw).collect::<Vec<_>>())
    };
    let mut differences: Vec<f64> =
        (0..RESAMPLES).map(|_| redrawn(these) - redrawn(others)).collect();
    differences.sort_by(f64::total_cmp);
    [RESAMPLES * 25 / 1000, RESAMPLES * 975 / 1000]
        .map(|index| differences.get(index).copied().unwrap_or_default())
}

fn cohens_d(these: &[f64], others: &[f64]) -> f64 {
    let mut all: Vec<f64> = these.iter().chain(others).copied().collect();
    all.sort_by(f64::total_cmp);
    let index = (all.len() as f64 * CUT_QUANTILE) as usize;
    let longest = all.get(index).copied().unwrap_or(f64::MAX);
    let moments = |values: &[f64]| {
        let count = values.len().max(2) as f64;
        let mean = values.iter().map(|value| value.min(longest)).sum::<f64>() / count;
        let squares = values.iter().map(|value| (value.min(longest) - mean).powi(2));
        (mean, squares.sum::<f64>() / (count - 1.0))
    };
    let ((mean, variance), (other_mean, other_variance)) = (moments(these), moments(others));
    let deviation = f64::midpoint(variance, other_variance).sqrt();
    if deviation == 0.0 { 0.0 } else { (mean - other_mean) / deviation }
}

fn auc(these: &[f64], others: &[f64]) -> f64 {
    let mut sorted = others.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = |value: f64| {
        let less = sorted.partition_point(|other| *other < value);
        let not_more = sorted.partition_point(|other| *other <= value);
        (less + not_more) as f64 / 2.0
    };
    let pairs = (these.len() * others.len()).max(1) as f64;
    these.iter().map(|value| below(*value)).sum::<f64>() / pairs
}

/// Random numbers of modest quality (xorshift64*).
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap_or_default() % end.max(1)
    }

    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About normal: the sum of twelve uniform numbers.
    fn normal(random: &mut Random, mean: f64) -> f64 {
        (0..12).map(|_| random.below(1_000_000) as f64 / 1e6).sum::<f64>() - 6.0 + mean
    }

    #[test]
    fn effect_size_is_measured() {
        let mut random = Random(7);
        for d in [0.0, 0.2, -0.5] {
            let these: Vec<f64> = (0..4_000).map(|_| normal(&mut random, d)).collect();
            let others: Vec<f64> = (0..4_000).map(|_| normal(&mut random, 0.0)).collect();
            let found = Comparison::of(&these, &others, &mut random);
            assert!((found.d - d).abs() < 0.08, "{found:?}");
            assert!((found.median_difference - d).abs() < 0.1, "{found:?}");
            assert!(found.interval[0] <= d + 0.08 && d - 0.08 <= found.interval[1], "{found:?}");
            assert!((found.auc - auc_of(d)).abs() < 0.03, "{found:?}");
            assert_eq!(found.is_within(0.1), d == 0.0, "{found:?}");
        }
    }

    #[test]
    fn equal_times_are_a_tie() {
        let mut random = Random(7);
        let found = Comparison::of(&[1.0; 10], &[1.0; 20], &mut random);
        assert_eq!((found.auc, found.d, found.median_difference), (0.5, 0.0, 0.0));
    }
}
