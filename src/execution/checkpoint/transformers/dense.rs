//! What the heads of DPT and Depth Anything have in common: features of a backbone, reassembled and fused.

use super::dinov2;
use crate::data::config::{Config, Dense, Factor, Feature, Readout};
use crate::data::error::Result;
use crate::execution::checkpoint::batch_norm::conv3x3;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::source::{Part, Source, linear};
use crate::execution::checkpoint::weights::{Fusion, Linear, Reassembly, ResidualUnit};
use crate::execution::checkpoint::{Files, Outline};

/// Reads a list of whole numbers.
pub fn counts(root: &Object, key: &str, default: &[usize]) -> Result<Vec<usize>> {
    let wrong = || root.wrong(key, "a list of whole numbers from 0 to 1048576");
    let count = |value: &f64| (value.fract() == 0.0 && (0.0..=1_048_576.0).contains(value)).then_some(*value as usize);
    match root.numbers(key)? {
        None => Ok(default.to_vec()),
        Some(numbers) => numbers.iter().map(count).collect::<Option<_>>().ok_or_else(wrong),
    }
}

/// Reads the features of tokens, given the numbers of blocks before them. They come after `stages` features of a convolutional backbone.
pub fn features(root: &Object, places: &[usize], stages: usize, channels: &[usize]) -> Result<Vec<Feature>> {
    if channels.len() != stages + places.len() || places.is_empty() || channels.contains(&0) {
        return Err(root.wrong("neck_hidden_sizes", &format!("a number above 0 for each of the {} features of the backbone", stages + places.len())));
    }
    let factors = root.numbers("reassemble_factors")?.unwrap_or_else(|| vec![4.0, 2.0, 1.0, 0.5]);
    let factor = |factor: &f64| match *factor {
        1.0 => Some(Factor::Same),
        up if up > 1.0 && up.fract() == 0.0 && up <= 1024.0 => Some(Factor::Up(up as usize)),
        // The reference's stride, rounded down.
        down if (1.0 / 1024.0..1.0).contains(&down) => Some(Factor::Down((1.0 / down) as usize)),
        _ => None,
    };
    let factors = factors.get(..channels.len()).and_then(|factors| factors.iter().map(factor).collect::<Option<Vec<Factor>>>());
    let factors = factors.ok_or_else(|| root.wrong("reassemble_factors", "for each feature a whole number, or a fraction of 1"))?;
    let feature = |((&blocks, &channels), factor)| Feature::Tokens { blocks, channels, factor };
    Ok(places.iter().zip(&channels[stages..]).zip(factors.into_iter().skip(stages)).map(feature).collect())
}

/// Reads the fused map that the head reads: a number that is counted from the last one if it is negative.
pub fn reads(root: &Object, fused: usize) -> Result<usize> {
    let number = root.number("head_in_index")?.unwrap_or(-1.0);
    let place = if number < 0.0 { number + fused as f64 } else { number };
    match place.fract() == 0.0 && (0.0..fused as f64).contains(&place) {
        true => Ok(place as usize),
        false => Err(root.wrong("head_in_index", &format!("a number from -{fused} to {}", fused - 1))),
    }
}

/// Reads the backbone of a model that names one, with the number of blocks before each of its features, and whether these are normalised.
pub fn backbone(root: &Object, config: &Object, files: Option<&Files>) -> Result<(Outline, Vec<usize>, bool)> {
    if config.string("model_type")?.is_some_and(|name| name != "dinov2") {
        return Err(config.unsupported("model_type", "dinov2"));
    }
    if config.bool("reshape_hidden_states")? == Some(true) {
        return Err(config.unsupported("reshape_hidden_states", "false"));
    }
    if root.get("backbone").is_some() {
        return Err(root.unsupported("backbone", "null, with a backbone_config"));
    }
    let outline = dinov2::below(config, files, "backbone.")?;
    let places = stages(config, outline.config.depth)?;
    Ok((outline, places, config.bool("apply_layernorm")?.unwrap_or(true)))
}

/// Reads the number of blocks before each feature of a backbone, whose stages are `stem`, `stage1` and so on.
fn stages(config: &Object, depth: usize) -> Result<Vec<usize>> {
    let wrong = |key| config.wrong(key, &format!("stages from stem or 0 to stage{depth} or {depth}"));
    let named = |name: &str| if name == "stem" { Some(0) } else { name.strip_prefix("stage")?.parse().ok() };
    let numbered = |number: f64| if number < 0.0 { number + depth as f64 + 1.0 } else { number };
    let found: Option<Vec<usize>> = match (config.get("out_features"), config.numbers("out_indices")?) {
        (Some(names), _) => names.as_array().and_then(|names| names.iter().map(|name| named(name.as_str()?)).collect()),
        (None, Some(numbers)) => {
            numbers.into_iter().map(numbered).map(|number| (number.fract() == 0.0 && number >= 0.0).then_some(number as usize)).collect()
        }
        (None, None) => Some(vec![depth]),
    };
    let key = if config.get("out_features").is_some() { "out_features" } else { "out_indices" };
    let mut found = found.ok_or_else(|| wrong(key))?;
    found.sort_unstable();
    found.dedup();
    if found.iter().any(|stage| *stage > depth) { Err(wrong(key)) } else { Ok(found) }
}

/// Layers of feature `i`, by transformers' names.
pub fn reassembly(i: usize, feature: &Feature, dense: &Dense, config: &Config) -> Reassembly<Source> {
    let (channels, factor) = match *feature {
        Feature::Tokens { channels, factor, .. } => (channels, factor),
        Feature::Stage(stage) => {
            let channels = config.patches().map_or(0, |patches| patches.stage_channels(stage));
            return Reassembly { readout: None, projection: None, resize: None, neck: neck(i, dense, channels) };
        }
    };
    let name = |part: &str| format!("neck.reassemble_stage.{part}");
    let layer = |part: &str| name(&format!("layers.{i}.{part}"));
    let is_projected = dense.readout == Readout::Project;
    Reassembly {
        readout: is_projected.then(|| linear(&name(&format!("readout_projects.{i}.0")), [config.width, 2 * config.width], true)),
        projection: Some(conv1x1(&layer("projection"), [channels, config.width])),
        resize: match factor {
            Factor::Up(by) => Some(transposed(&layer("resize"), channels, by)),
            Factor::Same => None,
            Factor::Down(_) => Some(conv3x3(&layer("resize"), [channels, channels], true, None)),
        },
        neck: neck(i, dense, channels),
    }
}

fn neck(i: usize, dense: &Dense, channels: usize) -> Linear<Source> {
    conv3x3(&format!("neck.convs.{i}"), [dense.width, channels], false, None)
}

/// Layers of the fusion with number `i`, the deepest first. `has_bias` and `has_norm` are those of the convolutions of its residual units.
pub fn fusion(i: usize, width: usize, has_bias: bool, has_norm: bool) -> Fusion<Source> {
    let name = |part: &str| format!("neck.fusion_stage.layers.{i}.{part}");
    let unit = |unit: usize| {
        let convolution = |number: usize| {
            let part = |part: &str| name(&format!("residual_layer{unit}.{part}{number}"));
            conv3x3(&part("convolution"), [width, width], has_bias, has_norm.then(|| part("batch_norm")).as_deref())
        };
        ResidualUnit { first: convolution(1), second: convolution(2) }
    };
    Fusion { feature: (i > 0).then(|| unit(1)), sum: unit(2), projection: conv1x1(&name("projection"), [width, width]) }
}

/// Convolution with a kernel of one pixel: a dense layer on the channels.
pub fn conv1x1(name: &str, [outputs, inputs]: [usize; 2]) -> Linear<Source> {
    let weight = Part::new(format!("{name}.weight"), &[outputs, inputs, 1, 1]);
    Linear { weight: Source::of(vec![weight], &[outputs, inputs]), ..linear(name, [outputs, inputs], true) }
}

/// The last layer of a depth head, which has one channel: weight `[inputs]`.
pub fn last(name: &str, inputs: usize) -> Linear<Source> {
    let weight = Part::new(format!("{name}.weight"), &[1, inputs, 1, 1]);
    Linear { weight: Source::of(vec![weight], &[inputs]), bias: Source::stored(format!("{name}.bias"), &[1]) }
}

/// Transposed convolution whose kernel is as large as its stride, as a dense layer to `by` rows of `by` pixels.
fn transposed(name: &str, channels: usize, by: usize) -> Linear<Source> {
    let weight = Part::permuted(format!("{name}.weight"), &[channels, channels, by, by], &[2, 3, 1, 0]);
    let outputs = by * by * channels;
    Linear {
        weight: Source::of(vec![weight], &[outputs, channels]),
        bias: Source::Repeated { part: Part::new(format!("{name}.bias"), &[channels]), shape: [outputs] },
    }
}
