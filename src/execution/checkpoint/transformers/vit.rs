//! ViT, DeiT, ViT-MAE, ViT-MSN, I-JEPA and ViT-hybrid, which share tensor names.

use super::{activation, class, classifier, has, patches, prefix};
use crate::data::config::{Activation, BACKBONE_GROUPS, Backbone, Classifier, Config, Input, Layout, Patches, Pooler, Pooling, Reads};
use crate::data::error::Result;
use crate::execution::checkpoint::backbone::Naming;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::position::Resampling;
use crate::execution::checkpoint::source::{Part, PositionSource, Source, StoredGrid, linear, norm, packed, patch_projection};
use crate::execution::checkpoint::weights::{Block, Weights};
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

/// Conventions in which the families differ.
struct Conventions {
    /// Prefix of the encoder's tensor names in task models.
    prefix: &'static str,
    base: &'static [&'static str],
    classifies: &'static str,
    epsilon: f64,
    /// Names of the prefix tokens, in order.
    tokens: &'static [&'static str],
    /// Pooling of the classifier's input.
    pooling: Pooling,
}

fn conventions(model_type: &str) -> Conventions {
    let vit = Conventions {
        prefix: "vit.",
        base: &["ViTModel"],
        classifies: "ViTForImageClassification",
        epsilon: 1e-12,
        tokens: &["cls_token"],
        pooling: Pooling::First,
    };
    match model_type {
        "deit" => Conventions {
            prefix: "deit.",
            base: &["DeiTModel"],
            classifies: "DeiTForImageClassification",
            tokens: &["cls_token", "distillation_token"],
            ..vit
        },
        // The decoder is for pre-training only. All patches are kept, in order.
        "vit_mae" => Conventions { base: &["ViTMAEModel", "ViTMAEForPreTraining"], classifies: "", ..vit },
        "vit_msn" => Conventions { base: &["ViTMSNModel"], classifies: "ViTMSNForImageClassification", epsilon: 1e-6, ..vit },
        "ijepa" => Conventions {
            prefix: "ijepa.",
            base: &["IJepaModel"],
            classifies: "IJepaForImageClassification",
            tokens: &[],
            pooling: Pooling::MeanFrom(0),
            ..vit
        },
        "vit-hybrid" => Conventions { base: &["ViTHybridModel"], classifies: "ViTHybridForImageClassification", ..vit },
        _ => vit,
    }
}

/// DeiT class with two classifiers.
const TEACHER: &str = "DeiTForImageClassificationWithTeacher";

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let model_type = root.string("model_type")?.unwrap_or("vit");
    let conventions = conventions(model_type);
    let guess = match () {
        () if has(files, "cls_classifier.weight") => TEACHER,
        () if has(files, "classifier.weight") => conventions.classifies,
        () => conventions.base[0],
    };
    let class = class(root, guess)?;
    let classifiers = match class {
        // Their logits are averaged, and of these there is no sigmoid.
        TEACHER if !matches!(root.string("problem_type")?, None | Some("single_label_classification")) => {
            return Err(root.unsupported("problem_type", &format!("single_label_classification for {TEACHER}")));
        }
        TEACHER if model_type == "deit" => {
            let twin = |name: &str, token| {
                Ok(classifier(root)?.pop().map(|found| Classifier { name: name.to_owned(), reads: Reads::Token(token), ..found }))
            };
            [twin("cls", 0)?, twin("dist", 1)?].into_iter().flatten().collect()
        }
        name if name == conventions.classifies => classifier(root)?,
        name if conventions.base.contains(&name) => Vec::new(),
        _ => {
            let teacher = if model_type == "deit" { format!(", {TEACHER}") } else { String::new() };
            let known = [conventions.base.join(", "), conventions.classifies.to_owned()].join(", ");
            return Err(root.unsupported("architectures", &format!("{}{teacher}", known.trim_end_matches(", "))));
        }
    };
    let is_base = conventions.base.contains(&class);
    let front = prefix(
        files,
        &[if is_base { "" } else { conventions.prefix }, if is_base { conventions.prefix } else { "" }],
        "embeddings.position_embeddings",
    );
    encoder(root, files, &conventions, (class, is_base, classifiers), front)
}

/// Reads the encoder of another model, whose tensors' names begin with `front`, without a pooled vector.
pub fn below(root: &Object, files: Option<&Files>, front: &'static str) -> Result<Outline> {
    let conventions = conventions("vit");
    let mut outline = encoder(root, files, &conventions, (conventions.base[0], true, Vec::new()), front)?;
    outline.config.pooling = None;
    Ok(outline)
}

/// Reads an encoder with its class, whether that has no classifier, and the classifiers.
fn encoder(
    root: &Object,
    files: Option<&Files>,
    conventions: &Conventions,
    (class, is_base, classifiers): (&str, bool, Vec<Classifier>),
    front: &'static str,
) -> Result<Outline> {
    let model_type = root.string("model_type")?.unwrap_or("vit");
    let width = root.size("hidden_size")?.unwrap_or(768);
    let pooler = match is_base && has(files, &format!("{front}pooler.dense.weight")) {
        false => None,
        true => Some(Pooler {
            width: root.size("pooler_output_size")?.unwrap_or(width),
            activation: activation(root, "pooler_act")?.unwrap_or(Activation::Tanh),
        }),
    };
    let backbone = match (model_type, files) {
        ("vit-hybrid", Some(files)) => Some(bit(root, bit_below(front), files, |last| vec![last])?),
        _ => None,
    };
    let patches = Patches { backbone, ..patches(root, if model_type == "vit-hybrid" { 1 } else { 16 })? };
    let grid = patches.whole_grid(patches.image);
    let config = Config {
        width,
        depth: checked_depth(root, root.size("num_hidden_layers")?.unwrap_or(12), files)?,
        heads: root.size("num_attention_heads")?.unwrap_or(12),
        mlp_width: root.size("intermediate_size")?.unwrap_or(3072),
        epsilon: root.number("layer_norm_eps")?.unwrap_or(conventions.epsilon) as f32,
        activation: activation(root, "hidden_act")?.unwrap_or(Activation::Gelu),
        prefix_tokens: conventions.tokens.len(),
        class_token: !conventions.tokens.is_empty(),
        pooling: Some(if is_base { Pooling::First } else { conventions.pooling }),
        pooler,
        classifiers,
        ..Config::plain(class, Layout::Transformers, Input::Image(patches))
    };
    config.validate(root.path())?;
    let positions = PositionSource {
        name: format!("{front}embeddings.position_embeddings"),
        prefix: config.prefix_tokens,
        width,
        grid,
        stored: StoredGrid::SquareElsewhere,
        resampling: Resampling::Bicubic,
        built: None,
    };
    // transformers 5 saves ViT-MSN's classification model with a prefix on every tensor except the blocks'.
    let blocks = prefix(files, &[front, ""], "encoder.layer.0.layernorm_before.weight");
    let weights = weights(&config, front, blocks, conventions.tokens, root.bool("qkv_bias")?.unwrap_or(true));
    Ok(Outline { weights, positions: Some(positions).into(), config, text: TextSources::default(), own: Vec::new() })
}

/// Required values of a hybrid's `backbone_config`. They are assumed if it is absent; a `BitConfig` that is present has other defaults.
const BIT: &[(&str, &str)] = &[
    ("embedding_dynamic_padding", "true"),
    ("global_padding", "\"SAME\""),
    ("hidden_act", "\"relu\""),
    ("layer_type", "\"bottleneck\""),
    ("output_stride", "32"),
];
/// Keys whose `BitConfig` default is the required value.
const BIT_DEFAULTS: &[&str] = &["hidden_act", "output_stride"];

/// Returns the beginning of the names of ViT-hybrid's backbone.
fn bit_below(front: &str) -> Naming {
    Naming::Transformers { bit: format!("{front}embeddings.patch_embeddings.backbone.bit") }
}

/// Reads a hybrid's convolutional backbone, and rejects configurations of unsupported variants. `features` returns the stages that the model needs, given the
/// number of the last one.
pub fn bit(root: &Object, naming: Naming, files: &Files, features: impl Fn(usize) -> Vec<usize>) -> Result<Backbone> {
    let Some(config) = root.object("backbone_config")? else { return naming.sizes(files, BACKBONE_GROUPS) };
    let found = naming.sizes(files, config.size("num_groups")?.unwrap_or(BACKBONE_GROUPS))?;
    for &(key, expected) in BIT {
        let value = config.get(key).map(|value| value.to_string());
        let fits = value.map_or(BIT_DEFAULTS.contains(&key), |value| value.eq_ignore_ascii_case(expected));
        if !fits {
            return Err(config.unsupported(key, expected));
        }
    }
    let needed: Vec<String> = features(found.stages.len()).iter().map(|stage| format!("stage{stage}")).collect();
    if config.get("out_features").is_some_and(|features| *features != serde_json::json!(needed)) {
        return Err(config.unsupported("out_features", &format!("of the stages that have tensors, {}", needed.join(", "))));
    }
    Ok(found)
}

/// Maps weights to transformers' tensor names.
fn weights(config: &Config, front: &'static str, blocks: &str, tokens: &[&str], qkv_bias: bool) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let patches = config.patches().expect("it takes images");
    let name = |part: &str| format!("{front}{part}");
    let block = |i: usize| {
        let name = |part: &str| format!("{blocks}encoder.layer.{i}.{part}");
        let qkv = ["query", "key", "value"].map(|which| name(&format!("attention.attention.{which}")));
        Block {
            norm1: norm(&name("layernorm_before"), width),
            qkv: packed(&qkv.each_ref().map(String::as_str), [width, width], &[qkv_bias; 3]),
            qk_norm: None,
            attention_norm: None,
            projection: linear(&name("attention.output.dense"), [width, width], true),
            scale1: None,
            norm2: Some(norm(&name("layernorm_after"), width)),
            mlp1: linear(&name("intermediate.dense"), [mlp_width, width], true),
            mlp_norm: None,
            mlp2: linear(&name("output.dense"), [width, mlp_width], true),
            scale2: None,
        }
    };
    let head = |classifier: &Classifier| {
        let name = match classifier.name.as_str() {
            "cls" => "cls_classifier",
            "dist" => "distillation_classifier",
            _ => "classifier",
        };
        linear(name, [classifier.classes, width], true)
    };
    let prefix = tokens.iter().map(|token| Part::new(name(&format!("embeddings.{token}")), &[1, width])).collect();
    Weights {
        backbone: patches.backbone.as_ref().map(|backbone| bit_below(front).weights(backbone, patches.channels)),
        patch: Some(patch_projection(&name("embeddings.patch_embeddings.projection"), config, patches, true)),
        prefix: Source::prefix(prefix, &name("embeddings.position_embeddings"), tokens.len(), [tokens.len(), width]),
        norm: Some(norm(&name("layernorm"), width)),
        pooler: config.pooler.map(|pooler| linear(&name("pooler.dense"), [pooler.width, width], true)),
        heads: config.classifiers.iter().map(head).collect(),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}
