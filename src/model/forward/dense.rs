//! Heads with a result for each pixel (Ranftl et al. 2021, DPT; Yang et al. 2024, Depth Anything). Maps are `[B, height, width, channels]`, so that
//! convolutions of single pixels are products.

use super::{Forward, Scratch, norm};
use crate::data::capabilities::Precision;
use crate::data::config::{Activation, Config, Dense, DenseHead, DenseSizes, Factor, Feature, Readout, Size};
use crate::data::error::Result;
use crate::data::record::Buf;
use crate::execution::checkpoint::{Dense as DenseWeights, Fusion, Linear, Reassembly, ResidualUnit, Weights};
use crate::operations::kernels::{self, Alignment, Epilogue, Onto, Reading};

/// State of a dense head.
pub(super) struct Maps {
    sizes: DenseSizes,
    /// Features after the neck's convolutions, in order, as far as their blocks are recorded.
    features: Vec<Buf>,
}

impl Maps {
    /// Returns the state of the head, if it has outputs that are wanted.
    pub fn new(config: &Config, size: Size, wanted: &[String]) -> Option<Maps> {
        let (Some(dense), Some(patches), Size::Image(image)) = (&config.dense, config.patches(), size) else { return None };
        let is_wanted = output_names(dense).iter().any(|name| wanted.contains(name));
        is_wanted.then(|| Maps { sizes: dense.sizes(patches, image), features: Vec::new() })
    }
}

/// Returns the names of the outputs, in order of computation.
pub(super) fn output_names(dense: &Dense) -> Vec<String> {
    let count = dense.features.len();
    let numbered = ["reassembled", "neck_conv", "fused"].into_iter().flat_map(|name| (0..count).map(move |i| format!("{name}.{i}")));
    let result = match dense.head {
        DenseHead::Depth { .. } => "predicted_depth",
        DenseHead::Segmentation { .. } => "logits",
    };
    numbered.chain([result.to_owned()]).collect()
}

const RELU: Epilogue = Epilogue::Activation(Activation::Relu);

impl Forward<'_> {
    /// Records the features of the stages `[B, channels, height, width]` of the convolutional backbone.
    pub(super) fn stage_features(&mut self, weights: &Weights<Buf>, stages: &[Buf]) -> Result<()> {
        let config = self.config;
        let (Some(dense), Some(head), true) = (&config.dense, &weights.dense, self.maps.is_some()) else { return Ok(()) };
        for (i, (feature, layers)) in dense.features.iter().zip(&head.reassemblies).enumerate() {
            if let Feature::Stage(stage) = *feature {
                let from = stages[stage];
                let &[batch, channels, height, width] = self.recording.shape(from) else { panic!("a feature map has four axes") };
                self.save(&format!("reassembled.{i}"), from);
                let map = self.map("stage", [height, width], channels)?;
                kernels::swap(&mut self.recording, format!("feature{i}.swap"), from, [batch, channels, height * width, 1], map)?;
                self.neck(i, layers, map)?;
            }
        }
        Ok(())
    }

    /// Records the features of the tokens after so many blocks.
    pub(super) fn token_features(&mut self, weights: &Weights<Buf>, done: usize) -> Result<()> {
        let config = self.config;
        let (Some(dense), Some(head), true) = (&config.dense, &weights.dense, self.maps.is_some()) else { return Ok(()) };
        for (i, (feature, layers)) in dense.features.iter().zip(&head.reassemblies).enumerate() {
            if let Feature::Tokens { blocks, channels, factor } = *feature
                && blocks == done
            {
                let tokens = match (&weights.norm, dense.normed) {
                    (Some(weights), true) => {
                        let Scratch { stream, normed, .. } = self.scratch;
                        norm(&mut self.recording, format!("feature{i}.norm"), stream, weights, normed, config.epsilon)?;
                        normed
                    }
                    _ => self.scratch.stream,
                };
                self.reassemble(i, layers, tokens, (channels, factor))?;
            }
        }
        Ok(())
    }

    /// Records a feature map of tokens (section 3.1).
    fn reassemble(&mut self, i: usize, layers: &Reassembly<Buf>, tokens: Buf, (channels, factor): (usize, Factor)) -> Result<()> {
        let config = self.config;
        let dense = config.dense.as_ref().expect("its weights are there");
        let label = |step: &str| format!("feature{i}.{step}");
        let (patches, Size::Image(image)) = (config.patches().expect("it takes images"), self.request.size) else { unreachable!("a size of images") };
        let grid = patches.grid(image);
        let size = self.maps.as_ref().expect("they are recorded").sizes.features[i];
        let (readout, count) = (dense.readout, grid[0] * grid[1]);
        let width = if readout == Readout::Project { 2 * config.width } else { config.width };
        let mut patches = self.patches("readout", count, width)?;
        kernels::readout(&mut self.recording, label("readout"), tokens, config.prefix_tokens, readout, patches)?;
        if let Some(layer) = &layers.readout {
            let projected = self.patches("read", count, config.width)?;
            let epilogue = Epilogue::Activation(dense.readout_activation);
            kernels::matmul(&mut self.recording, label("project"), patches, layer.pair(), epilogue, projected)?;
            patches = projected;
        }
        let projection = layers.projection.as_ref().expect("a feature of tokens has a projection");
        let mut map = self.map("projected", grid, channels)?;
        kernels::matmul(&mut self.recording, label("projection"), patches, projection.pair(), Epilogue::Bias, map)?;
        if let Some(resize) = &layers.resize {
            let resized = self.map("reassembled", size, channels)?;
            match factor {
                Factor::Up(by) => {
                    let blocks = self.patches("blocks", count, by * by * channels)?;
                    kernels::matmul(&mut self.recording, label("transposed"), map, resize.pair(), Epilogue::Bias, blocks)?;
                    // A pixel has `by` rows of `by` pixels: those of a row of pixels are brought side by side.
                    let axes = [self.request.batch * grid[0], grid[1], by, by * channels];
                    kernels::swap(&mut self.recording, label("shuffle"), blocks, axes, resized)?;
                }
                Factor::Same | Factor::Down(_) => {
                    let stride = if let Factor::Down(stride) = factor { stride } else { 1 };
                    let reading = Reading { stride, ..Reading::PLAIN };
                    kernels::conv3x3(&mut self.recording, label("resize"), map, resize.pair(), reading, Epilogue::Bias, resized)?;
                }
            }
            map = resized;
        }
        self.save_map(&format!("reassembled.{i}"), map)?;
        self.neck(i, layers, map)
    }

    /// Records the convolution of a feature to the width of fusion.
    fn neck(&mut self, i: usize, layers: &Reassembly<Buf>, map: Buf) -> Result<()> {
        let fused = self.convolution(&format!("feature{i}.neck"), map, &layers.neck, Reading::PLAIN, Epilogue::Bias)?;
        self.save_map(&format!("neck_conv.{i}"), fused)?;
        self.maps.as_mut().expect("they are recorded").features.push(fused);
        Ok(())
    }

    /// Records fusion and head, after all features.
    pub(super) fn dense_head(&mut self, weights: &Weights<Buf>) -> Result<()> {
        let config = self.config;
        let (Some(dense), Some(layers), Some(maps)) = (&config.dense, &weights.dense, self.maps.take()) else { return Ok(()) };
        let fused = self.fuse(dense, &layers.fusions, &maps)?;
        match &dense.head {
            DenseHead::Depth { activation, scale, .. } => self.depth(layers, fused, maps.sizes.result, (*activation, *scale)),
            DenseHead::Segmentation { .. } => self.segmentation(layers, fused, maps.sizes.result),
        }
    }

    /// Records the fusion of the features, the deepest first, up to the map that the head reads, or to the last one that is requested. Returns the one that the head
    /// reads.
    ///
    /// A projection of single pixels and an interpolation can change places, so the projection is applied to the smaller map.
    fn fuse(&mut self, dense: &Dense, fusions: &[Fusion<Buf>], maps: &Maps) -> Result<Buf> {
        let wanted = |forward: &Self, i: usize| forward.wants(&format!("fused.{i}"));
        let last = (0..fusions.len()).rev().find(|i| *i == dense.reads || wanted(self, *i)).expect("the head reads one");
        let mut sum = *maps.features.last().expect("a feature");
        let mut read = None;
        for (i, fusion) in fusions.iter().enumerate().take(last + 1) {
            let label = |step: &str| format!("fusion{i}.{step}");
            self.residual_unit(&label("sum"), &fusion.sum, sum)?;
            let &[_, height, width, _] = self.recording.shape(sum) else { panic!("a map has four axes") };
            let projected = self.map("fusion", [height, width], dense.width)?;
            kernels::matmul(&mut self.recording, label("projection"), sum, fusion.projection.pair(), Epilogue::Bias, projected)?;
            let size = maps.sizes.fused[i];
            if i == dense.reads || wanted(self, i) {
                let fused = self.map(&label("fused"), size, dense.width)?;
                kernels::resize(&mut self.recording, label("resize"), projected, Alignment::Corners, Onto::Nothing, fused)?;
                self.save_map(&format!("fused.{i}"), fused)?;
                read = if i == dense.reads { Some(fused) } else { read };
            }
            if i < last {
                let next = fusions[i + 1].feature.as_ref().expect("all but the deepest have a feature");
                sum = self.feature_at(&label("feature"), maps.features[fusions.len() - 2 - i], size)?;
                self.residual_unit(&label("feature"), next, sum)?;
                kernels::resize(&mut self.recording, label("sum"), projected, Alignment::Corners, Onto::Sum, sum)?;
            }
        }
        Ok(read.expect("the head's map is among them"))
    }

    /// Records a feature at the size of the map that it is added to.
    fn feature_at(&mut self, label: &str, feature: Buf, size: [usize; 2]) -> Result<Buf> {
        let &[_, height, width, channels] = self.recording.shape(feature) else { panic!("a map has four axes") };
        if [height, width] == size {
            return Ok(feature);
        }
        let resized = self.map(label, size, channels)?;
        kernels::resize(&mut self.recording, format!("{label}.resize"), feature, Alignment::Edges, Onto::Nothing, resized)?;
        Ok(resized)
    }

    /// Records a residual unit in place.
    fn residual_unit(&mut self, label: &str, unit: &ResidualUnit<Buf>, map: Buf) -> Result<()> {
        let rectified = Reading { is_rectified: true, ..Reading::PLAIN };
        let hidden = self.convolution(&format!("{label}.convolution1"), map, &unit.first, rectified, RELU)?;
        kernels::conv3x3(&mut self.recording, format!("{label}.convolution2"), hidden, unit.second.pair(), Reading::PLAIN, Epilogue::Residual, map)
    }

    fn depth(&mut self, layers: &DenseWeights<Buf>, fused: Buf, size: [usize; 2], last: (Activation, f32)) -> Result<()> {
        let (projection, [first, second]) = layers.convolutions.split_last_chunk().expect("two convolutions");
        let map = match projection {
            [] => fused,
            [projection, ..] => self.convolution("head.projection", fused, projection, Reading::PLAIN, RELU)?,
        };
        let narrow = self.convolution("head.convolution1", map, first, Reading::PLAIN, Epilogue::Bias)?;
        let channels = *self.recording.shape(narrow).last().expect("channels");
        let large = self.map("head.resized", size, channels)?;
        kernels::resize(&mut self.recording, "head.resize".to_owned(), narrow, Alignment::Corners, Onto::Nothing, large)?;
        let hidden = self.convolution("head.convolution2", large, second, Reading::PLAIN, RELU)?;
        let depth = self.recording.scratch("predicted_depth", &[self.request.batch, size[0], size[1]])?;
        kernels::depth(&mut self.recording, "head.depth".to_owned(), hidden, layers.last.pair(), last, depth)?;
        self.save("predicted_depth", depth);
        Ok(())
    }

    fn segmentation(&mut self, layers: &DenseWeights<Buf>, fused: Buf, size: [usize; 2]) -> Result<()> {
        let hidden = self.convolution("head.convolution", fused, &layers.convolutions[0], Reading::PLAIN, RELU)?;
        let &[_, height, width, _] = self.recording.shape(hidden) else { panic!("a map has four axes") };
        let classes = self.recording.shape(layers.last.bias)[0];
        let scores = self.map("scores", [height, width], classes)?;
        kernels::matmul(&mut self.recording, "head.scores".to_owned(), hidden, layers.last.pair(), Epilogue::Bias, scores)?;
        let large = self.map("head.resized", size, classes)?;
        kernels::resize(&mut self.recording, "head.resize".to_owned(), scores, Alignment::Corners, Onto::Nothing, large)?;
        self.save_map("logits", large)
    }

    /// Records a convolution with 3 × 3 windows to a new map.
    fn convolution(&mut self, label: &str, x: Buf, layer: &Linear<Buf>, reading: Reading, epilogue: Epilogue) -> Result<Buf> {
        let &[_, height, width, _] = self.recording.shape(x) else { panic!("a map has four axes") };
        let size = [height, width].map(|side| reading.windows(side));
        let channels = self.recording.shape(layer.bias)[0];
        let y = self.map(label, size, channels)?;
        kernels::conv3x3(&mut self.recording, label.to_owned(), x, layer.pair(), reading, epilogue, y)?;
        Ok(y)
    }

    /// Saves a map as `[B, channels, height, width]`, if requested.
    fn save_map(&mut self, name: &str, map: Buf) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let &[batch, height, width, channels] = self.recording.shape(map) else { panic!("a map has four axes") };
        let planes = self.recording.scratch(name, &[batch, channels, height, width])?;
        kernels::swap(&mut self.recording, format!("{name}.swap"), map, [batch, height * width, channels, 1], planes)?;
        self.save(name, planes);
        Ok(())
    }

    /// Adds a buffer for a map.
    fn map(&mut self, label: &str, [height, width]: [usize; 2], channels: usize) -> Result<Buf> {
        let precision = self.recording.activations();
        self.recording.scratch_in(label, &[self.request.batch, height, width, channels], precision)
    }

    /// Returns the buffer for rows of patches.
    fn patches(&mut self, label: &str, count: usize, width: usize) -> Result<Buf> {
        let precision: Precision = self.recording.activations();
        self.recording.shared_scratch(label, &[self.request.batch, count, width], precision)
    }
}
