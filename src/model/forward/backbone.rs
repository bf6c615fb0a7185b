//! Convolutional backbone of hybrid models (Kolesnikov et al. 2020, BiT; He et al. 2016, bottleneck blocks).

use crate::data::error::Result;
use crate::data::record::{Buf, Recording};
use crate::execution::checkpoint::{Backbone, Bottleneck, Convolution};
use crate::operations::kernels::{self, After};

/// Records the backbone on pixels `[B, channels, height, width]`. Returns the maps after the stem and after each stage.
pub fn record(recording: &mut Recording, weights: &Backbone<Buf>, groups: usize, pixels: Buf) -> Result<(Buf, Vec<Buf>)> {
    let stem = convolution(recording, "backbone.stem", &weights.stem, pixels, 2)?;
    let normed = like(recording, "backbone.stem.norm", stem)?;
    norm(recording, "backbone.stem.norm", (&weights.stem, groups), stem, After::Relu, normed)?;
    let [batch, channels, height, width] = *recording.shape(normed) else { panic!("a feature map has four axes") };
    let stem = recording.scratch("backbone.stem.pool", &[batch, channels, height.div_ceil(2), width.div_ceil(2)])?;
    kernels::max_pool(recording, "backbone.stem.pool".to_owned(), normed, [3, 2], stem)?;
    let (mut map, mut stages) = (stem, Vec::new());
    for (number, stage) in weights.stages.iter().enumerate() {
        for (i, block) in stage.iter().enumerate() {
            let stride = if number > 0 && i == 0 { 2 } else { 1 };
            map = bottleneck(recording, &format!("backbone.stage{number}.block{i}"), (block, groups), map, stride)?;
        }
        stages.push(map);
    }
    Ok((stem, stages))
}

/// Records a residual bottleneck block. The stride is in the 3×3 convolution.
fn bottleneck(recording: &mut Recording, label: &str, (weights, groups): (&Bottleneck<Buf>, usize), map: Buf, stride: usize) -> Result<Buf> {
    let step = |name: &str| format!("{label}.{name}");
    let inner = convolution(recording, &step("conv1"), &weights.conv1, map, 1)?;
    let normed = like(recording, &step("norm1"), inner)?;
    norm(recording, &step("norm1"), (&weights.conv1, groups), inner, After::Relu, normed)?;
    let inner = convolution(recording, &step("conv2"), &weights.conv2, normed, stride)?;
    let normed = like(recording, &step("norm2"), inner)?;
    norm(recording, &step("norm2"), (&weights.conv2, groups), inner, After::Relu, normed)?;
    let outer = convolution(recording, &step("conv3"), &weights.conv3, normed, 1)?;
    // The sum is accumulated into the shortcut, which is not needed afterwards.
    let sum = match &weights.downsample {
        None => map,
        Some(downsample) => {
            let shortcut = convolution(recording, &step("downsample"), downsample, map, stride)?;
            let normed = like(recording, &step("downsample.norm"), shortcut)?;
            norm(recording, &step("downsample.norm"), (downsample, groups), shortcut, After::Nothing, normed)?;
            normed
        }
    };
    norm(recording, &step("norm3"), (&weights.conv3, groups), outer, After::ResidualRelu, sum)?;
    Ok(sum)
}

fn convolution(recording: &mut Recording, label: &str, weights: &Convolution<Buf>, x: Buf, stride: usize) -> Result<Buf> {
    let [batch, _, height, width] = *recording.shape(x) else { panic!("a feature map has four axes") };
    let outputs = recording.shape(weights.weight)[0];
    let y = recording.scratch(label, &[batch, outputs, height.div_ceil(stride), width.div_ceil(stride)])?;
    kernels::convolution(recording, label.to_owned(), x, weights.weight, stride, y)?;
    Ok(y)
}

fn norm(recording: &mut Recording, label: &str, (weights, groups): (&Convolution<Buf>, usize), x: Buf, after: After, y: Buf) -> Result<()> {
    let bias = weights.norm.bias.expect("GroupNorm has a bias");
    kernels::groupnorm(recording, label.to_owned(), x, [weights.norm.weight, bias], groups, after, y)
}

fn like(recording: &mut Recording, label: &str, of: Buf) -> Result<Buf> {
    let shape = recording.shape(of).to_vec();
    recording.scratch(label, &shape)
}
