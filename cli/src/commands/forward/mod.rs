mod input;

use super::images::is_image;
use super::output::{check_named, check_replaceable, protect};
use super::{ExecutionArgs, HeadArgs, ModelArgs, Result, note, tensors};
use clap::Args;
use input::Input;
use std::path::PathBuf;
use vitraux::low_level::forward::output_names;
use vitraux::{Model, Outputs};

/// Scores of image-text pairs, `[M, N]`.
const PAIRS: &str = "logits_per_image";

#[derive(Debug, Args)]
pub struct Forward {
    /// Safetensors file with `pixel_values` [B, channels, height, width]; for texts, with `input_ids` and optionally `attention_mask` [B, N]; for NaFlex
    /// models, with patches as `pixel_values` [B, N, values] and `spatial_shapes` [B, 2]; for encoders of embeddings, with `input` [B, N, C] or
    /// `embeddings` without positions, and optionally `key_padding_mask` [B, N], nonzero for tokens to ignore
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Safetensors file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Intermediate results to write besides tokens, features, logits and predicted_depth (or output): embeddings, hidden.I, attn.I, backbone, rollout,
    /// pca, probabilities, reassembled.I, neck_conv.I, fused.I, those of texts such as text.hidden.I, or all
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    tap: Vec<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    heads: HeadArgs,
    #[command(flatten)]
    execution: ExecutionArgs,
}

impl Forward {
    pub fn run(self) -> Result<()> {
        check_named(&self.output, "safetensors")?;
        check_replaceable(&self.output)?;
        let checkpoint = self.heads.apply(self.model.open()?)?;
        let files = [self.model.files(), self.heads.files()].concat();
        protect(&self.output, files.iter().chain([&self.input]).chain(self.execution.tuning.file()))?;
        if is_image(&self.input) {
            let input = self.input.display();
            return Err(format!("{input}: expected a safetensors file, found an image; `vitraux preprocess` turns it into pixel_values").into());
        }
        let input = Input::open(&self.input, checkpoint.config(), checkpoint.text_config().is_some())?;
        if let (Some([height, width]), Some([h, w])) = (self.model.image_size(), input.images.as_ref().and_then(|images| images.size()))
            && [height, width] != [h, w]
        {
            return Err(format!("--image-size is {height} x {width}, but pixel_values are {h} x {w}").into());
        }
        let names = Names::new(checkpoint.config(), checkpoint.text_config().filter(|_| input.texts.is_some()));
        let model = self.execution.load(checkpoint)?;
        let outputs = self.outputs(&model, &input, &names)?;
        tensors::write(&self.output, outputs.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
        note(&format!("outputs: {}", self.output.display()));
        // In the order in which they are computed, so that the first one tells where values overflow.
        let refusal = names.all().filter_map(|name| Some((name, outputs.get(name)?))).find_map(|(name, output)| {
            let (values, images) = (output.values(), output.shape()[0].max(1));
            let refused = |(image, row): (usize, &[f32])| self.execution.refusal(&format!("{name} of image {image}"), row);
            values.chunks((values.len() / images).max(1)).enumerate().find_map(refused)
        });
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// Runs the towers that there is input for, and compares images with texts.
    fn outputs(&self, model: &Model, input: &Input, names: &Names) -> Result<Outputs> {
        let mut session = model.session();
        let compares = input.images.is_some() && input.texts.is_some();
        let mut outputs = Outputs::new();
        if let Some(images) = &input.images {
            let mut wanted = self.wanted(&names.images, |tap| !names.texts.iter().any(|name| name == tap) && tap != PAIRS);
            wanted.extend((compares && !wanted.contains(&"image_embeds")).then_some("image_embeds"));
            outputs.extend(images.forward(&mut session, &wanted)?);
        }
        if let Some(texts) = &input.texts {
            let mut wanted = self.wanted(&names.texts, |tap| names.texts.iter().any(|name| name == tap) || input.images.is_none());
            wanted.extend((compares && !wanted.contains(&"text_embeds")).then_some("text_embeds"));
            outputs.extend(session.forward_text_blocking(texts, &wanted)?);
        }
        if compares {
            let scores = model.similarity(&outputs["image_embeds"], &outputs["text_embeds"])?;
            outputs.insert(PAIRS.to_owned(), scores);
        }
        Ok(outputs)
    }

    /// Returns the outputs to compute of those that a tower has, and the taps that are its.
    fn wanted<'a>(&'a self, known: &'a [String], is_its: impl Fn(&str) -> bool) -> Vec<&'a str> {
        let all = self.tap.iter().any(|tap| tap == "all");
        let is_standard = |name: &str| {
            let end = name.strip_prefix("text.").unwrap_or(name);
            ["tokens", "features", "pooled", "output", "predicted_depth"].contains(&end)
                || ["logits", "image_embeds", "text_embeds"].iter().any(|stem| name.starts_with(stem))
        };
        let mut wanted: Vec<&str> = known.iter().map(String::as_str).filter(|name| all || is_standard(name)).collect();
        let taps = self.tap.iter().map(String::as_str).filter(|tap| *tap != "all" && is_its(tap));
        for tap in taps {
            if !wanted.contains(&tap) {
                wanted.push(tap);
            }
        }
        wanted
    }
}

/// Names of the outputs that a model has, in the order in which they are computed.
struct Names {
    images: Vec<String>,
    texts: Vec<String>,
}

impl Names {
    fn new(config: &vitraux::config::Config, of_text: Option<&vitraux::config::Config>) -> Names {
        match config.is_text() {
            true => Names { images: Vec::new(), texts: output_names(config) },
            false => Names { images: output_names(config), texts: of_text.map(output_names).unwrap_or_default() },
        }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.images.iter().chain(&self.texts).map(String::as_str).chain([PAIRS])
    }
}
