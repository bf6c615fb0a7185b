//! 16-bit integers with a scale for each block of 32, packed two to a word. They use 14 bits, so that the products of two blocks add up to less than 2^31.

use super::integers::rows_of_integers;

rows_of_integers!(i16, 8191.0);

const _: () = assert!(BLOCK as i64 * LARGEST as i64 * (LARGEST as i64) < 1 << 31);
