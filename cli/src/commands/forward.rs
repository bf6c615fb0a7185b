use super::images::is_image;
use super::output::{check_named, protect};
use super::{ExecutionArgs, HeadArgs, ModelArgs, Result, note, tensors};
use clap::Args;
use std::path::{Path, PathBuf};
use vitraux::Tensor;
use vitraux::config::{Config, Size};
use vitraux::low_level::checkpoint::{open_mask, sinusoidal, tensor_names};
use vitraux::low_level::forward::output_names;

#[derive(Debug, Args)]
pub struct Forward {
    /// Safetensors file with `pixel_values` [B, channels, height, width]; for encoders of embeddings, with `input` [B, N, C] or
    /// `embeddings` without positions, and optionally `key_padding_mask` [B, N], nonzero for tokens to ignore
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Safetensors file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Intermediate results to write besides tokens, features, logits and predicted_depth (or output): embeddings, hidden.I, attn.I, backbone, rollout, pca,
    /// probabilities, reassembled.I, neck_conv.I, fused.I, or all
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
        let checkpoint = self.heads.apply(self.model.open()?)?;
        let files = [self.model.files(), self.heads.files()].concat();
        protect(&self.output, files.iter().chain([&self.input]).chain(self.execution.tuning.file()))?;
        if is_image(&self.input) {
            let input = self.input.display();
            return Err(format!("{input}: expected a safetensors file, found an image; `vitraux preprocess` turns it into pixel_values").into());
        }
        let input = Input::open(&self.input, &checkpoint.config)?;
        if let (Some([height, width]), [.., h, w]) = (self.model.image_size(), input.values.shape())
            && [height, width] != [*h, *w]
        {
            return Err(format!("--image-size is {height} x {width}, but pixel_values are {h} x {w}").into());
        }
        let known = output_names(&checkpoint.config);
        let all = self.tap.iter().any(|tap| tap == "all");
        let is_standard = |name: &str| {
            ["tokens", "features", "output", "predicted_depth"].contains(&name)
                || ["logits", "image_embeds"].iter().any(|stem| name.starts_with(stem))
        };
        let mut wanted: Vec<&str> = known.iter().map(String::as_str).filter(|name| all || is_standard(name)).collect();
        let more = self.tap.iter().map(String::as_str).filter(|tap| *tap != "all");
        for tap in more {
            if !wanted.contains(&tap) {
                wanted.push(tap);
            }
        }
        let mut session = self.execution.load(checkpoint)?.session();
        let outputs = match &input.mask {
            None => session.forward_blocking(&input.values, &wanted)?,
            Some(mask) => session.forward_masked_blocking(&input.values, mask, &wanted)?,
        };
        tensors::write(&self.output, outputs.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
        note(&format!("outputs: {}", self.output.display()));
        // In the order in which they are computed, so that the first one tells where values overflow.
        let refusal = known.iter().filter_map(|name| Some((name, outputs.get(name)?))).find_map(|(name, output)| {
            let (values, images) = (output.values(), output.shape()[0].max(1));
            let refused = |(image, row): (usize, &[f32])| self.execution.refusal(&format!("{name} of image {image}"), row);
            values.chunks((values.len() / images).max(1)).enumerate().find_map(refused)
        });
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }
}

/// Input of the model.
struct Input {
    values: Tensor,
    mask: Option<Tensor>,
}

impl Input {
    fn open(path: &Path, config: &Config) -> Result<Input> {
        if config.patches().is_some() {
            return Ok(Input { values: tensors::read(path, "pixel_values")?, mask: None });
        }
        let names = tensor_names(path)?;
        let has = |name: &str| names.iter().any(|known| known == name);
        let values = match has("input") || !has("embeddings") {
            true => tensors::read(path, "input")?,
            false => positioned(&tensors::read(path, "embeddings")?, config)?,
        };
        let mask = has("key_padding_mask").then(|| open_mask(path, "key_padding_mask")).transpose()?;
        Ok(Input { values, mask })
    }
}

/// Multiplies embeddings by the square root of their width and adds sinusoidal positions (Vaswani et al. 2017, section 3.4).
fn positioned(embeddings: &Tensor, config: &Config) -> Result<Tensor> {
    let tokens = match *embeddings.shape() {
        [_, tokens, width] if width == config.width => tokens,
        ref found => return Err(format!("embeddings: expected [B, N, {}], found {found:?}", config.width).into()),
    };
    // An empty tensor can claim any number of tokens.
    config.tokens(Size::Sequence(tokens))?;
    let positions = sinusoidal(tokens, config.width);
    let scale = (config.width as f32).sqrt();
    let values = embeddings.values().iter().zip(positions.values().iter().cycle()).map(|(value, position)| value * scale + position).collect();
    Ok(Tensor::new(embeddings.shape(), values)?)
}
