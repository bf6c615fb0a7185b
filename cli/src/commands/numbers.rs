//! Parsers of numbers in arguments, whose errors say what is expected.

/// Parses a number from 1 to `most`.
pub fn count(most: u32) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(
            || if most == u32::MAX { "expected a number of at least 1".to_owned() } else { format!("expected a number from 1 to {most}") },
        )
    }
}

/// Parses the number of a block, counted from 0.
pub fn block(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected the number of a block, counted from 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_rejected_with_the_range() {
        assert_eq!((count(8)("8"), block("0")), (Ok(8), Ok(0)));
        for text in ["0", "9", "-1", "x", "", "1.5"] {
            assert_eq!(count(8)(text), Err("expected a number from 1 to 8".to_owned()));
        }
        assert!(count(u32::MAX)("0").is_err_and(|error| error.contains("at least 1")) && block("last").is_err());
    }
}
