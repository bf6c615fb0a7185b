//! Stem of MobileCLIP (Vasu et al. 2024; timm's `ConvStem`): convolutions whose windows do not overlap and cross no patch. On a patch, each is a dense layer.

use super::batch_norm::convolution;
use super::files::Files;
use super::source::Source;
use super::weights::Linear;
use crate::data::error::Result;
use crate::data::tensor::Tensor;

/// Heights and widths of the windows: a patch has 16 × 16 pixels.
pub const WINDOWS: [usize; 3] = [4, 2, 2];

/// Height and width of a patch in pixels.
pub const PATCH: usize = WINDOWS[0] * WINDOWS[1] * WINDOWS[2];

/// A convolution's weight or bias, once for each of its windows in a patch. Between the windows are zeros.
#[derive(Clone, Debug)]
pub struct Windowed {
    /// The weight `[out, window · window · in]`, or the bias `[out]`.
    source: Box<Source>,
    /// Number of windows along a side of the patch.
    windows: usize,
    /// Height and width of a window.
    window: usize,
    /// Whether inputs are pixels `[in, height, width]`; else, they are `[height, width, in]`, as outputs are.
    of_pixels: bool,
    shape: Vec<usize>,
}

impl Windowed {
    pub fn source(&self) -> &Source {
        &self.source
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn load(&self, files: &Files) -> Result<Tensor> {
        let weight = self.source.load(files)?;
        let values = weight.tensor.finite_values(&weight.name)?;
        let places = self.windows * self.windows;
        let &[_, inputs] = self.shape.as_slice() else {
            return Tensor::new(self.shape.as_slice(), values.iter().copied().cycle().take(self.shape[0]).collect());
        };
        let side = self.windows * self.window;
        let channels = inputs / (side * side);
        let of_window = self.window * self.window * channels;
        let outputs = values.len() / of_window;
        let mut spread = vec![0.0; self.shape.iter().product()];
        for (row, line) in spread.chunks_mut(inputs).enumerate() {
            let (place, output) = (row / outputs, row % outputs);
            debug_assert!(place < places);
            for (i, value) in values[output * of_window..][..of_window].iter().enumerate() {
                let (channel, across, down) = (i % channels, i / channels % self.window, i / channels / self.window);
                let [y, x] = [place / self.windows * self.window + down, place % self.windows * self.window + across];
                line[if self.of_pixels { (channel * side + y) * side + x } else { (y * side + x) * channels + channel }] = *value;
            }
        }
        Tensor::new(self.shape.as_slice(), spread)
    }
}

/// Returns the widths of the layers before the last, for patches of `width` values: timm's channels, in each window of a patch.
pub fn widths(width: usize) -> Vec<usize> {
    let channels = width / 4;
    vec![16 * channels, 4 * channels]
}

/// Returns the layers of the stem `name`: those before the last, and the last, which projects patches to `width` values.
pub fn layers(name: &str, channels: usize, width: usize) -> (Vec<Linear<Source>>, Linear<Source>) {
    let hidden = width / 4;
    let normed = |i: usize, inputs: usize, windows: usize| {
        let convolution = convolution(&format!("{name}.{i}.conv"), [hidden, inputs, WINDOWS[i]], false, Some(&format!("{name}.{i}.bn")));
        let side = windows * WINDOWS[i];
        let windowed = |source: Source, shape: Vec<usize>| {
            Source::Windowed(Windowed { source: Box::new(source), windows, window: WINDOWS[i], of_pixels: i == 0, shape })
        };
        let outputs = windows * windows * hidden;
        Linear { weight: windowed(convolution.weight, vec![outputs, side * side * inputs]), bias: windowed(convolution.bias, vec![outputs]) }
    };
    let last = convolution(&format!("{name}.2.conv"), [width, hidden, WINDOWS[2]], true, None);
    (vec![normed(0, channels, 4), normed(1, hidden, 2)], last)
}
