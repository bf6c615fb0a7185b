//! Weights of a dense head. A 3 × 3 convolution is a dense layer on the values of its windows.

use super::Linear;

/// Layers from a block's tokens to a feature map, and the convolution to the width of fusion.
#[derive(Clone, Debug)]
pub struct Reassembly<T> {
    /// Layer on patches with the class token beside them: weight `[C, 2·C]`.
    pub readout: Option<Linear<T>>,
    /// Layer to the map's channels: weight `[channels, C]`; `None` for a map of the backbone.
    pub projection: Option<Linear<T>>,
    /// Transposed convolution, weight `[factor · factor · channels, channels]`, or 3 × 3 convolution, weight `[channels, 9 · channels]`.
    pub resize: Option<Linear<T>>,
    /// 3 × 3 convolution: weight `[width, 9 · channels]`.
    pub neck: Linear<T>,
}

/// Two 3 × 3 convolutions, each after a ReLU, whose result is added to their input: weights `[width, 9 · width]`.
#[derive(Clone, Debug)]
pub struct ResidualUnit<T> {
    /// First convolution.
    pub first: Linear<T>,
    /// Second convolution.
    pub second: Linear<T>,
}

/// Layers that fuse a feature into the map of the deeper ones.
#[derive(Clone, Debug)]
pub struct Fusion<T> {
    /// On the feature; `None` for the deepest.
    pub feature: Option<ResidualUnit<T>>,
    /// On the sum.
    pub sum: ResidualUnit<T>,
    /// 1 × 1 convolution: weight `[width, width]`.
    pub projection: Linear<T>,
}

/// Weights of a dense head.
#[derive(Clone, Debug)]
pub struct Dense<T> {
    /// For each feature.
    pub reassemblies: Vec<Reassembly<T>>,
    /// For each feature, the deepest first.
    pub fusions: Vec<Fusion<T>>,
    /// 3 × 3 convolutions of the head, in order.
    pub convolutions: Vec<Linear<T>>,
    /// Last layer: weight `[channels]` with one output, or `[classes, channels]`.
    pub last: Linear<T>,
}

try_map!(Reassembly { readout: maybe, projection: maybe, resize: maybe, neck: node });
try_map!(ResidualUnit { first: node, second: node });
try_map!(Fusion { feature: maybe, sum: node, projection: node });

try_map!(Dense { reassemblies: list, fusions: list, convolutions: list, last: node });

impl<T> Dense<T> {
    /// Returns the layers on tokens and on single pixels.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Linear<T>> {
        let reassemblies = self.reassemblies.iter().flat_map(|reassembly| reassembly.readout.iter().chain(&reassembly.projection));
        reassemblies.chain(self.fusions.iter().map(|fusion| &fusion.projection)).chain([&self.last])
    }

    /// Returns the convolutions with kernels of more than a pixel.
    pub(super) fn windows(&self) -> impl Iterator<Item = &Linear<T>> {
        let reassemblies = self.reassemblies.iter().flat_map(|reassembly| reassembly.resize.iter().chain([&reassembly.neck]));
        let units = self.fusions.iter().flat_map(|fusion| fusion.feature.iter().chain([&fusion.sum]));
        reassemblies.chain(units.flat_map(|unit| [&unit.first, &unit.second])).chain(&self.convolutions)
    }
}
