//! DPT for depth and for segmentation: on its own ViT, on a hybrid of ResNet and ViT, or on DINOv2.

use super::dense::{backbone, conv1x1, counts, features, fusion, last, reads, reassembly};
use super::{activation, class, classifier, has, vit};
use crate::data::config::{Activation, Config, Dense, DenseHead, Feature, Input, Patches, Readout, Upsampling};
use crate::data::error::Result;
use crate::execution::checkpoint::backbone::Naming;
use crate::execution::checkpoint::batch_norm::conv3x3;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::position::Resampling;
use crate::execution::checkpoint::source::{PositionSource, Source, StoredGrid, patch_projection};
use crate::execution::checkpoint::weights::{Dense as DenseWeights, Linear, Weights};
use crate::execution::checkpoint::{Files, Outline};

const DEPTH: &str = "DPTForDepthEstimation";
const SEGMENTATION: &str = "DPTForSemanticSegmentation";

/// Channels in front of the last layer of the depth head.
const HIDDEN: usize = 32;

/// Features of a hybrid that are stages of its ResNet.
const STAGES: usize = 2;

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let class = class(root, if has(files, "head.head.1.running_mean") { SEGMENTATION } else { DEPTH })?;
    let is_hybrid = root.bool("is_hybrid")?.unwrap_or(false);
    let named = root.object("backbone_config")?.filter(|_| !is_hybrid);
    let (outline, places, normed) = match (&named, class) {
        (_, class) if ![DEPTH, SEGMENTATION].contains(&class) => return Err(root.unsupported("architectures", &format!("{DEPTH}, {SEGMENTATION}"))),
        (Some(_), SEGMENTATION) => return Err(root.unsupported("backbone_config", "null, or a hybrid's, for segmentation")),
        (Some(config), _) => backbone(root, config, files)?,
        (None, _) => {
            let (outline, places) = own_backbone(root, files, is_hybrid)?;
            (outline, places, false)
        }
    };
    let stages = if is_hybrid { STAGES } else { 0 };
    let of_tokens = features(root, &places, stages, &counts(root, "neck_hidden_sizes", &[96, 192, 384, 768])?)?;
    let features: Vec<Feature> = (0..stages).map(Feature::Stage).chain(of_tokens).collect();
    let width = root.size("fusion_hidden_size")?.unwrap_or(256);
    let readout = match root.string("readout_type")?.unwrap_or("project") {
        "project" => Readout::Project,
        "ignore" if !is_hybrid => Readout::Ignore,
        "add" if !is_hybrid => Readout::Add,
        _ => return Err(root.unsupported("readout_type", "project; without a hybrid also ignore and add")),
    };
    let has_norm = root.bool("use_batch_norm_in_fusion_residual")?.unwrap_or(false);
    let has_bias = root.bool("use_bias_in_fusion_residual")?.unwrap_or(!has_norm);
    let (head, convolutions, last) = if class == DEPTH { depth(root, width)? } else { segmentation(root, width)? };
    let reads = reads(root, features.len())?;
    let readout_activation = activation(root, "hidden_act")?.unwrap_or(Activation::Gelu);
    let dense = Dense { features, readout, readout_activation, normed, width, upsampling: Upsampling::Twice, reads, head };
    let config = Config { name: class.to_owned(), ..outline.config };
    let weights = DenseWeights {
        reassemblies: dense.features.iter().enumerate().map(|(i, feature)| reassembly(i, feature, &dense, &config)).collect(),
        fusions: (0..dense.features.len()).map(|i| fusion(i, width, has_bias, has_norm)).collect(),
        convolutions,
        last,
    };
    let config = Config { dense: Some(dense), ..config };
    config.validate(root.path())?;
    let own = ["neck.", "head."].map(str::to_owned).to_vec();
    Ok(Outline { config, weights: Weights { dense: Some(weights), ..outline.weights }, own, ..outline })
}

/// Reads DPT's own ViT, with the number of blocks before each feature of its tokens.
fn own_backbone(root: &Object, files: Option<&Files>, is_hybrid: bool) -> Result<(Outline, Vec<usize>)> {
    let sized = if root.get("image_size").is_some() { root.clone() } else { root.clone().with("image_size", 384.into()) };
    let mut outline = vit::below(&sized, files, "dpt.")?;
    if let (true, Some(files), Input::Image(patches)) = (is_hybrid, files, &outline.config.input) {
        let naming = Naming::Transformers { bit: "dpt.embeddings.backbone.bit".to_owned() };
        let found = vit::bit(root, naming.clone(), files, |last| (1..=last).collect())?;
        if found.stages.len() != STAGES + 1 {
            return Err(root.error(format!("a backbone of {} stages; expected {}", found.stages.len(), STAGES + 1)));
        }
        let weights = naming.weights(&found, patches.channels);
        let patches = Patches { backbone: Some(found), size: [1; 2], ..patches.clone() };
        let patch = patch_projection("dpt.embeddings.projection", &outline.config, &patches, true);
        outline.weights = Weights { backbone: Some(weights), patch: Some(patch), ..outline.weights };
        outline.config.input = Input::Image(patches);
    }
    let table =
        outline.positions.table.take().map(|positions| PositionSource { stored: StoredGrid::Square, resampling: Resampling::Bilinear, ..positions });
    let mut blocks = counts(root, "backbone_out_indices", &[2, 5, 8, 11])?;
    if is_hybrid {
        blocks.drain(..blocks.len().min(STAGES));
    }
    blocks.retain(|block| *block < outline.config.depth);
    blocks.sort_unstable();
    blocks.dedup();
    let places = blocks.into_iter().map(|block| block + 1).collect();
    let neck_ignores = counts(root, "neck_ignore_stages", &[0, 1])?;
    if is_hybrid && neck_ignores != [0, 1] {
        return Err(root.unsupported("neck_ignore_stages", "[0, 1]"));
    }
    outline.positions.table = table;
    Ok((outline, places))
}

type Head = (DenseHead, Vec<Linear<Source>>, Linear<Source>);

fn depth(root: &Object, width: usize) -> Result<Head> {
    let has_projection = root.bool("add_projection")?.unwrap_or(false);
    let head = DenseHead::Depth { has_projection, hidden: HIDDEN, patch: None, activation: Activation::Relu, scale: 1.0 };
    let projection = has_projection.then(|| conv3x3("head.projection", [width, width], true, None));
    let convolutions = [conv3x3("head.head.0", [width / 2, width], true, None), conv3x3("head.head.2", [HIDDEN, width / 2], true, None)];
    Ok((head, projection.into_iter().chain(convolutions).collect(), last("head.head.4", HIDDEN)))
}

fn segmentation(root: &Object, width: usize) -> Result<Head> {
    let labels = classifier(root)?.pop().map(|classifier| classifier.labels).ok_or_else(|| root.wrong("id2label", "at least one class"))?;
    let last = conv1x1("head.head.4", [labels.len(), width]);
    let convolution = conv3x3("head.head.0", [width, width], false, Some("head.head.1"));
    Ok((DenseHead::Segmentation { labels }, vec![convolution], last))
}
