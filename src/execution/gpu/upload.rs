//! The way of inputs into mapped memory.

use crate::data::levels::WORD;

/// An input's bytes: pieces behind one another, each of which begins with a word of its own.
#[derive(Clone, Debug)]
pub struct Pieces<'a>(Vec<&'a [u8]>);

impl<'a> Pieces<'a> {
    /// Of several blocks of bytes.
    pub fn new(pieces: Vec<&'a [u8]>) -> Pieces<'a> {
        Pieces(pieces)
    }

    /// Of one block of numbers.
    pub fn of(values: &'a [f32]) -> Pieces<'a> {
        Pieces(vec![bytemuck::cast_slice(values)])
    }

    /// Copies them, each byte once.
    ///
    /// # Panics
    /// If they are not as many bytes as the memory has.
    pub(super) fn copy_to(&self, mut memory: wgpu::WriteOnly<'_, [u8]>) {
        for piece in &self.0 {
            let (own, rest) = memory.split_at(piece.len().next_multiple_of(WORD));
            own.split_at(piece.len()).0.copy_from_slice(piece);
            memory = rest;
        }
        assert!(memory.is_empty(), "an input of as many bytes as its buffer has");
    }
}
