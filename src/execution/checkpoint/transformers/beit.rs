//! BEiT and BEiT v2 (Bao et al. 2022; Peng et al. 2022).

use super::{activation, class, classifier, has, patches, prefix};
use crate::data::config::{Activation, Config, Input, Layout, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::position::Resampling;
use crate::execution::checkpoint::positions::PositionSources;
use crate::execution::checkpoint::relative::RelativeSource;
use crate::execution::checkpoint::source::{Part, PositionSource, Source, StoredGrid, linear, norm, packed, patch_projection};
use crate::execution::checkpoint::weights::{Block, Weights};
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

const BASE: &str = "BeitModel";
const CLASSIFIES: &str = "BeitForImageClassification";

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let class = class(root, if has(files, "classifier.weight") { CLASSIFIES } else { BASE })?;
    let is_base = class == BASE;
    if !is_base && class != CLASSIFIES {
        return Err(root.unsupported("architectures", &format!("{BASE}, {CLASSIFIES}")));
    }
    let front = prefix(files, &[if is_base { "" } else { "beit." }, if is_base { "beit." } else { "" }], "embeddings.cls_token");
    let flag = |key: &str, default: bool| Ok::<bool, crate::data::error::Error>(root.bool(key)?.unwrap_or(default));
    let [each, shared] = [flag("use_relative_position_bias", false)?, flag("use_shared_relative_position_bias", false)?];
    if each && shared {
        return Err(root.unsupported("use_shared_relative_position_bias", "biases of each block, or shared ones, not both"));
    }
    let means = flag("use_mean_pooling", true)?;
    let width = root.size("hidden_size")?.unwrap_or(768);
    let patches = patches(root, 16)?;
    let grid = patches.whole_grid(patches.image);
    let config = Config {
        width,
        depth: checked_depth(root, root.size("num_hidden_layers")?.unwrap_or(12), files)?,
        heads: root.size("num_attention_heads")?.unwrap_or(12),
        mlp_width: root.size("intermediate_size")?.unwrap_or(3072),
        epsilon: root.number("layer_norm_eps")?.unwrap_or(1e-12) as f32,
        activation: activation(root, "hidden_act")?.unwrap_or(Activation::Gelu),
        relative_positions: each || shared,
        layer_scale: root.number("layer_scale_init_value")?.unwrap_or(0.1) > 0.0,
        final_norm: !means,
        pooling: Some(if means { Pooling::MeanFrom(1) } else { Pooling::First }),
        pool_norm: means,
        classifiers: if is_base { Vec::new() } else { classifier(root)? },
        ..Config::plain(class, Layout::Transformers, Input::Image(patches))
    };
    config.validate(root.path())?;
    let relative = |at: String| RelativeSource {
        name: format!("{front}{at}relative_position_bias.relative_position_bias_table"),
        heads: config.heads,
        grid,
        resampled: true,
    };
    let absolute = flag("use_absolute_position_embeddings", false)?;
    let table = PositionSource {
        name: format!("{front}embeddings.position_embeddings"),
        prefix: 1,
        width,
        grid,
        // Used unchanged for square images only.
        stored: StoredGrid::Square,
        resampling: Resampling::Bicubic,
        built: None,
    };
    let positions = PositionSources {
        table: absolute.then_some(table),
        relative: match shared {
            true => vec![relative("encoder.".to_owned())],
            false => (0..config.depth * usize::from(each)).map(|i| relative(format!("encoder.layer.{i}.attention.attention."))).collect(),
        },
        ..PositionSources::default()
    };
    Ok(Outline { weights: weights(&config, front, absolute), positions, config, text: TextSources::default(), own: Vec::new() })
}

/// Maps weights to transformers' tensor names.
fn weights(config: &Config, front: &str, absolute: bool) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let name = |part: &str| format!("{front}{part}");
    let block = |i: usize| {
        let name = |part: &str| name(&format!("encoder.layer.{i}.{part}"));
        let scale = |part: &str| config.layer_scale.then(|| Source::stored(name(part), &[width]));
        let qkv = ["query", "key", "value"].map(|which| name(&format!("attention.attention.{which}")));
        Block {
            norm1: norm(&name("layernorm_before"), width),
            qkv: packed(&qkv.each_ref().map(String::as_str), [width, width], &[true, false, true]),
            qk_norm: None,
            attention_norm: None,
            projection: linear(&name("attention.output.dense"), [width, width], true),
            scale1: scale("lambda_1"),
            norm2: Some(norm(&name("layernorm_after"), width)),
            mlp1: linear(&name("intermediate.dense"), [mlp_width, width], true),
            mlp_norm: None,
            mlp2: linear(&name("output.dense"), [width, mlp_width], true),
            scale2: scale("lambda_2"),
        }
    };
    let patches = config.patches().expect("it takes images");
    let class_token = vec![Part::new(name("embeddings.cls_token"), &[1, width])];
    Weights {
        patch: Some(patch_projection(&name("embeddings.patch_embeddings.projection"), config, patches, true)),
        prefix: Source::prefix(class_token, &name("embeddings.position_embeddings"), usize::from(absolute), [1, width]),
        norm: config.final_norm.then(|| norm(&name("layernorm"), width)),
        pool_norm: config.pool_norm.then(|| norm(&name("pooler.layernorm"), width)),
        heads: config.classifiers.iter().map(|classifier| linear("classifier", [classifier.classes, width], true)).collect(),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tensor::Tensor;
    use serde_json::json;
    use std::path::Path;

    /// An image of 4 x 16 patches has as many as the square that transformers takes the table for.
    #[test]
    fn absolute_positions_are_resampled_unless_the_image_is_square() {
        let at = |image: [usize; 2]| {
            let config = json!({
                "model_type": "beit", "use_absolute_position_embeddings": true, "image_size": image, "patch_size": 8,
                "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 64,
            });
            let root = Object::parse(Path::new("config.json"), config.to_string().as_bytes()).expect("an object");
            let table = read(&root, None).expect("a model").positions.table.expect("a table");
            let stored: Vec<f32> = (0..64 * 32).map(|i| (i * i % 97) as f32).collect();
            let made = table.made_of(Tensor::new([64, 32], stored.clone()).expect("a table"), [8, 8]);
            let values = made.at(image.map(|side| side / 8)).expect("finite").values().into_owned();
            values == stored
        };
        assert_eq!([at([64, 64]), at([32, 128])], [true, false]);
    }
}
