//! Depth Anything, versions 1 and 2, relative and metric: DINOv2 under a head like DPT's.

use super::class;
use super::dense::{backbone, counts, features, fusion, last, reads, reassembly};
use crate::data::config::{Activation, Config, Dense, DenseHead, Readout, Upsampling};
use crate::data::error::Result;
use crate::execution::checkpoint::batch_norm::conv3x3;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::weights::{Dense as DenseWeights, Weights};
use crate::execution::checkpoint::{Files, Outline};

const CLASS: &str = "DepthAnythingForDepthEstimation";

/// The backbone of models that configure none.
const BACKBONE: &[u8] = br#"{"image_size": 518, "hidden_size": 384, "num_attention_heads": 6, "out_indices": [9, 10, 11, 12]}"#;

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    if class(root, CLASS)? != CLASS {
        return Err(root.unsupported("architectures", CLASS));
    }
    let own = root.object("backbone_config")?;
    let own = own.map_or_else(|| Ok(Object::parse(root.path(), BACKBONE)?.located(root.path(), "backbone_config.")), Ok)?;
    let (outline, places, normed) = backbone(root, &own, files)?;
    let patch = outline.config.patches().expect("it takes images").size;
    if root.pair("patch_size")?.unwrap_or([14; 2]) != patch || patch[0] != patch[1] {
        return Err(root.wrong("patch_size", &format!("the side {} of the backbone's square patches", patch[0])));
    }
    let width = root.size("fusion_hidden_size")?.unwrap_or(64);
    let channels = counts(root, "neck_hidden_sizes", &[48, 96, 192, 384])?;
    let features = features(root, &places, 0, &channels)?;
    let (half, hidden) = (width / 2, root.size("head_hidden_size")?.unwrap_or(32));
    let head = DenseHead::Depth {
        has_projection: false,
        hidden,
        patch: Some(patch[0]),
        activation: match root.string("depth_estimation_type")?.unwrap_or("relative") {
            "relative" => Activation::Relu,
            "metric" => Activation::Sigmoid,
            _ => return Err(root.unsupported("depth_estimation_type", "relative, metric")),
        },
        scale: root.number("max_depth")?.unwrap_or(1.0) as f32,
    };
    let reads = reads(root, features.len())?;
    let (readout, readout_activation) = (Readout::Ignore, Activation::Gelu);
    let dense = Dense { features, readout, readout_activation, normed, width, upsampling: Upsampling::ToNext, reads, head };
    let config = Config { name: CLASS.to_owned(), ..outline.config };
    let weights = DenseWeights {
        reassemblies: dense.features.iter().enumerate().map(|(i, feature)| reassembly(i, feature, &dense, &config)).collect(),
        fusions: (0..dense.features.len()).map(|i| fusion(i, width, true, false)).collect(),
        convolutions: vec![conv3x3("head.conv1", [half, width], true, None), conv3x3("head.conv2", [hidden, half], true, None)],
        last: last("head.conv3", hidden),
    };
    let config = Config { dense: Some(dense), ..config };
    config.validate(root.path())?;
    let own = ["neck.", "head."].map(str::to_owned).to_vec();
    Ok(Outline { config, weights: Weights { dense: Some(weights), ..outline.weights }, own, ..outline })
}
