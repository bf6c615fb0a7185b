//! candle's own ViT on its CPU backend as a peer that waits for work, as `worker.py` does: `candle-peer FOLDER`.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::vit;
use std::time::Instant;

fn floats(path: String) -> Vec<f32> {
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn main() -> candle_core::Result<()> {
    let folder = std::env::args().nth(1).expect("usage: candle-peer FOLDER");
    let (inputs, expected) = (floats(format!("{folder}/input.bin")), floats(format!("{folder}/logits.bin")));
    let base = vit::Config { layer_norm_eps: 1e-6, ..vit::Config::vit_base_patch16_224() };
    let config = if folder.contains("tiny") { vit::Config { hidden_size: 192, num_attention_heads: 3, intermediate_size: 768, ..base } } else { base };
    // SAFETY: nobody writes the file.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[format!("{folder}/hf.safetensors")], DType::F32, &Device::Cpu)? };
    let model = vit::Model::new(&config, 1000, weights)?;
    println!("ready candle 0.11");
    for line in std::io::stdin().lines() {
        let batch: usize = line?.trim().parse().expect("a batch size");
        let values: Vec<f32> = inputs.iter().copied().cycle().take(batch * 3 * 224 * 224).collect();
        let start = Instant::now();
        let x = Tensor::from_vec(values, (batch, 3, 224, 224), &Device::Cpu)?;
        let logits = model.forward(&x)?.flatten_all()?.to_vec1::<f32>()?;
        let elapsed = start.elapsed().as_secs_f64();
        let difference = logits.iter().zip(expected.iter().cycle()).fold(0.0, |worst: f32, (a, b)| worst.max((a - b).abs()));
        println!("answer {} {difference}", elapsed * 1e3);
    }
    Ok(())
}
