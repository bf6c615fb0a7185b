//! Copies inputs into mapped memory.

use crate::data::levels::WORD;

/// Bytes of an input: consecutive pieces, each starting at a new word.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    /// Offset and contents of each piece.
    pieces: Vec<(usize, &'a [u8])>,
    /// Total number of bytes, padding between pieces included.
    len: usize,
}

/// Bytes that a thread copies at a time.
const CHUNK: usize = 1 << 16;

impl<'a> Pieces<'a> {
    /// Creates an input from several blocks of bytes.
    pub fn new(pieces: Vec<&'a [u8]>) -> Pieces<'a> {
        let mut len = 0;
        let place = |piece: &'a [u8]| {
            let start = len;
            len += piece.len().next_multiple_of(WORD);
            (start, piece)
        };
        let pieces = pieces.into_iter().map(place).collect();
        Pieces { pieces, len }
    }

    /// Creates an input from one block of numbers.
    pub fn of(values: &'a [f32]) -> Pieces<'a> {
        Pieces::new(vec![bytemuck::cast_slice(values)])
    }

    /// Copies the pieces, each byte once, on several threads if there are enough: one core writes to GPU memory more slowly than the bus allows.
    ///
    /// # Panics
    /// If the number of bytes differs from the size of `memory`.
    pub(super) fn copy_to(&self, memory: wgpu::WriteOnly<'_, [u8]>) {
        assert_eq!(memory.len(), self.len, "an input has as many bytes as its buffer");
        let (chunks, rest) = memory.into_chunks::<CHUNK>();
        let copy = |(number, chunk): (usize, wgpu::WriteOnly<'_, [u8; CHUNK]>)| self.copy_part(number * CHUNK, chunk.into());
        let end = chunks.len() * CHUNK;
        on_threads(chunks.into_iter().enumerate().collect(), copy);
        self.copy_part(end, rest);
    }

    /// Copies the bytes from `start` on to `to`, which is a part of the memory.
    fn copy_part(&self, start: usize, mut to: wgpu::WriteOnly<'_, [u8]>) {
        let end = start + to.len();
        let first = self.pieces.partition_point(|(at, piece)| at + piece.len() <= start);
        for &(at, piece) in self.pieces[first..].iter().take_while(|(at, _)| *at < end) {
            let (from, until) = (at.max(start), (at + piece.len()).min(end));
            to.slice(from - start..until - start).copy_from_slice(&piece[from - at..until - at]);
        }
    }
}

/// Calls `work` for each chunk, on several threads.
#[cfg(not(target_arch = "wasm32"))]
fn on_threads<T: Send>(chunks: Vec<T>, work: impl Fn(T) + Sync + Send) {
    use rayon::prelude::*;
    // A few threads saturate the bus; fewer chunks are copied before another thread has woken.
    const THREADS: usize = 8;
    const LEAST: usize = 16;
    let share = chunks.len().div_ceil(THREADS).max(LEAST);
    chunks.into_par_iter().with_min_len(share).for_each(work);
}

/// Calls `work` for each chunk: in a browser, mapped memory belongs to the thread that mapped it.
#[cfg(target_arch = "wasm32")]
fn on_threads<T>(chunks: Vec<T>, work: impl Fn(T)) {
    chunks.into_iter().for_each(work);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_are_copied_completely() {
        for sizes in [&[][..], &[1], &[0, 5, 0, 3], &[CHUNK], &[CHUNK - 1, 2, CHUNK + 6], &[7; 3000], &[150_528; 40], &[40 * CHUNK + 9]] {
            let bytes: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(n, &size)| (0..size).map(|i| (1 + (i * 7 + n * 13) % 251) as u8).collect()).collect();
            let pieces = Pieces::new(bytes.iter().map(Vec::as_slice).collect());
            let mut memory = vec![0; pieces.len];
            pieces.copy_to(wgpu::WriteOnly::from_mut(&mut memory[..]));
            let expected: Vec<u8> =
                bytes.iter().flat_map(|piece| [&piece[..], &[0; WORD][..piece.len().next_multiple_of(WORD) - piece.len()]].concat()).collect();
            assert_eq!(memory, expected, "{sizes:?}");
        }
    }
}
