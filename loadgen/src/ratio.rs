//! Medians and spreads of slices.

use serde::Serialize;

/// Smallest and largest value seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// The middle value; of an even number the mean of the two in the middle. None without values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Smallest and largest; none without values.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    values.into_iter().fold(None, |spread, value| match spread {
        None => Some(Spread {
            min: value,
            max: value,
        }),
        Some(Spread { min, max }) => Some(Spread {
            min: min.min(value),
            max: max.max(value),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn spreads() {
        assert_eq!(spread([]), None);
        assert_eq!(spread([0.9, 0.6, 0.7]), Some(Spread { min: 0.6, max: 0.9 }));
    }
}
