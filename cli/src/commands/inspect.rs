use super::numbers::count;
use super::output::stdout;
use super::table::{Column, Table};
use super::{Format, ModelArgs, Result, mebibytes, shown};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use vitraux::Device;
use vitraux::config::{Config, DenseHead, Size};
use vitraux::low_level::capabilities::{Capabilities, Precision};
use vitraux::low_level::checkpoint::{Linear, WeightInfo, Weights};
use vitraux::low_level::forward::{Request, Tables, output_names, record};
use vitraux::low_level::images_per_pass;
use vitraux::low_level::record::Recording;

#[derive(Debug, Args)]
pub struct Inspect {
    /// Model to describe, in any form that --model takes
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    positional: Option<PathBuf>,
    /// Batch size to report scratch memory for
    #[arg(long, value_name = "B", default_value_t = 1, allow_negative_numbers = true, value_parser = count(65536))]
    batch: u32,
    /// Precision to report weight memory for: f32, f16, bf16 or int8; for int8, also lists what becomes of each layer
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    precision: Precision,
    /// Output format; json prints one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    model: ModelArgs,
}

impl Inspect {
    pub fn run(self) -> Result<()> {
        let model = self.model.or(self.positional);
        let checkpoint = model.open()?;
        let config = checkpoint.config();
        let parameters = checkpoint.parameters();
        let size = model.image_size().map_or(config.native_size(), Size::Image);
        let is_result = |name: &String| ["output", "features", "predicted_depth"].contains(&name.as_str()) || name.starts_with("logits");
        let wanted = output_names(config).into_iter().filter(is_result).collect();
        let images = images_per_pass(config, &Device::cpu(), size, self.batch as usize)?;
        let request = Request { batch: images, size, masked: false, levels: false, wanted };
        let Ok(weights) = checkpoint.weights.clone().try_map_all(|weight| Ok::<_, std::convert::Infallible>(weight.info()));
        let recording = record(
            config,
            &weights,
            &Tables::at(config, &checkpoint.positions, size)?,
            &request,
            Recording::new(Capabilities::CPU).with_precision(self.precision),
        )?;
        let layers = layers(&weights, self.precision);
        let (weight_bytes, scratch_bytes) = (recording.weight_bytes(), recording.scratch_bytes());
        let gflop = config.flops(size)? as f64 / 1e9;
        let of_pixels = match config.dense.as_ref().map(|dense| &dense.head) {
            Some(DenseHead::Segmentation { labels }) => labels.len(),
            _ => 0,
        };
        let classes: usize = of_pixels + config.default_classifiers().iter().map(|(_, classifier)| classifier.classes).sum::<usize>();
        let labels: usize = of_pixels + config.default_classifiers().iter().map(|(_, classifier)| classifier.labels.len()).sum::<usize>();
        let result = match (&config.dense, config.pooling) {
            (Some(dense), _) => dense.head.to_string(),
            (None, Some(pooling)) => pooling.to_string(),
            (None, None) => "all tokens".to_owned(),
        };
        let mut out = stdout();
        if self.format == Format::Json {
            let value = json!({
                "name": config.name,
                "family": config.layout.to_string(),
                "channels": config.patches().map(|patches| patches.channels),
                "image": config.patches().map(|_| image(size)),
                "patch": config.patches().map(|patches| patches.size),
                "tokens": config.tokens(size)?,
                "width": config.width,
                "depth": config.depth,
                "heads": config.heads,
                "head_width": config.head_width(),
                "mlp_width": config.mlp_width,
                "pooling": result,
                "classes": classes,
                "labels": labels,
                "parameters": parameters,
                "gflop_per_image": gflop,
                "weight_bytes": weight_bytes,
                "batch": self.batch,
                "pass_images": images,
                "scratch_bytes": scratch_bytes,
                "text": checkpoint.text_config().map(|text| json!({
                    "tokens": longest(text),
                    "width": text.width,
                    "depth": text.depth,
                    "heads": text.heads,
                    "head_width": text.head_width(),
                    "mlp_width": text.mlp_width,
                })),
                "layers": layers.iter().map(|(name, precision, why)| json!({"weight": name, "precision": precision.to_string(), "reason": why})).collect::<Vec<_>>(),
            });
            writeln!(out, "{value}")?;
            return Ok(());
        }
        let input = match (config.patches(), size) {
            (Some(patches), Size::Image([height, width])) => {
                let front = if patches.backbone.is_some() { ", through a ResNet" } else { "" };
                format!("{height} x {width} pixels, {} channels{front}", patches.channels)
            }
            (_, Size::Sequence(tokens)) if config.is_text() => format!("texts of up to {tokens} tokens"),
            (_, Size::Sequence(tokens)) => format!("up to {tokens} embeddings"),
            (_, Size::Image(_) | Size::Patches(_)) => unreachable!("a size is of what the model takes"),
        };
        let tokens = match (config.patches(), size) {
            (Some(patches), Size::Image(image)) => {
                let ([down, across], [height, width]) = (patches.grid(image), patches.size);
                format!("{} = {} prefix + {down} x {across} patches of {height} x {width} pixels", config.tokens(size)?, config.prefix_tokens)
            }
            _ => config.tokens(size)?.to_string(),
        };
        let of_pass = match images < self.batch as usize {
            true => format!("passes of {images} images, in which this CPU takes a batch of {}", self.batch),
            false => format!("a batch of {images}"),
        };
        let mut rows = vec![
            ("model", format!("{} ({})", config.name, config.layout)),
            ("input", input),
            ("tokens", tokens),
            ("encoder", encoder(config)),
            ("result", format!("{result}, {classes} classes, {labels} labels")),
            ("parameters", parameters.to_string()),
            ("arithmetic", format!("{gflop:.3} GFLOP per image")),
            ("weights", mebibytes(weight_bytes)),
            ("scratch", format!("{} for {of_pass}", mebibytes(scratch_bytes))),
        ];
        if let Some(text) = checkpoint.text_config() {
            rows.insert(4, ("texts", format!("up to {} tokens, {}", longest(text), encoder(text))));
        }
        for (name, value) in rows {
            writeln!(out, "{name:12}{}", shown(&value))?;
        }
        if !layers.is_empty() {
            let mut table = Table::new([Column::Words("weight"), Column::Words("precision"), Column::Words("why")]);
            layers.iter().for_each(|(name, precision, why)| table.add([shown(name), precision.to_string(), (*why).to_owned()]));
            write!(out, "\n{}", table.text())?;
        }
        Ok(())
    }
}

fn encoder(config: &Config) -> String {
    let Config { depth, width, heads, mlp_width, .. } = config;
    format!("{depth} blocks of width {width}, {heads} heads of {}, MLP {mlp_width}", config.head_width())
}

/// Returns the maximum tokens of a text.
fn longest(text: &Config) -> usize {
    match text.native_size() {
        Size::Sequence(longest) => longest,
        Size::Image(_) | Size::Patches(_) => unreachable!("a text tower takes texts"),
    }
}

/// Returns the weights of dense layers, the precision of each, and why it is that one, if not all have the same.
fn layers(weights: &Weights<WeightInfo>, precision: Precision) -> Vec<(String, Precision, &'static str)> {
    if precision != Precision::Int8 {
        return Vec::new();
    }
    let precisions = weights.factors(precision, &Device::cpu().capabilities());
    let layer = |linear: &Linear<WeightInfo>| {
        let precision = *precisions.get(&linear.weight.name)?;
        let why = match precision {
            Precision::Int8 => "a scale for every 32 values",
            Precision::F16 | Precision::Bf16 => "errors of the first and the last block weigh most",
            _ => "outside the blocks",
        };
        Some((linear.weight.name.clone(), precision, why))
    };
    weights.linears().filter_map(layer).collect()
}

/// Returns height and width if the size is that of an image.
fn image(size: Size) -> Option<[usize; 2]> {
    match size {
        Size::Image(image) => Some(image),
        Size::Sequence(_) | Size::Patches(_) => None,
    }
}
