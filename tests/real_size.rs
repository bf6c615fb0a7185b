//! Models at their real size, with made-up weights: every device runs them, within the memory that they may take.

use crate::support::{cases::Rng, cli, compare::largest_difference, gpu};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;
use std::path::Path;
use vitraux::Checkpoint;
use vitraux::low_level::checkpoint::open_tensor;

/// Writes a model of timm's as a folder from the hub, for images of `side` pixels, in f32 or f16; gives the bytes of the weights.
fn write_folder(folder: &Path, architecture: &str, side: usize, dtype: Dtype) -> u64 {
    let checkpoint = Checkpoint::random(architecture).expect("a known architecture");
    assert!(architecture != "vit_base_patch16_224" || checkpoint.parameters() == 86_567_656);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut push = |name: &str, shape: &[usize], values: &[f32]| {
        let bytes = match dtype {
            Dtype::F16 => values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect(),
            _ => bytemuck::cast_slice(values).to_vec(),
        };
        tensors.push((name.to_owned(), shape.to_vec(), bytes));
    };
    // Each tensor is let go when it was written down: H/14 twice in memory is more than some machines have.
    let config = checkpoint.config().clone();
    let prefix = config.prefix_tokens;
    let Checkpoint { weights, positions, .. } = checkpoint;
    let patches = config.patches().expect("it takes images");
    let table = positions.table.expect("a table").at(patches.grid([side, side])).expect("finite");
    let rows = [vec![0.0; prefix * config.width], table.values().into_owned()].concat();
    push("pos_embed", &[1, rows.len() / config.width, config.width], &rows);
    let Ok(_) = weights.try_map_all(|weight| {
        if weight.learned > 0 {
            push(&weight.name, weight.tensor.shape(), &weight.tensor.values());
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let views = tensors.iter().map(|(name, shape, bytes)| (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).expect("as many bytes")));
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).expect("a checkpoint");
    let config = json!({ "architecture": architecture, "pretrained_cfg": { "input_size": [3, side, side], "fixed_input_size": true } });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("a configuration");
    tensors.iter().map(|(_, _, bytes)| bytes.len() as u64).sum()
}

fn view<'a>(shape: &[usize], values: &'a [f32]) -> TensorView<'a> {
    TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values)).expect("as many values as the shape says")
}

/// Runs a model on a device; gives its features, and the ratio of the memory that it took to its weights' bytes.
fn run(device: &str, architecture: &str, dtype: Dtype) -> (Vec<f32>, Option<f64>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let side: usize = architecture.rsplit('_').next().and_then(|size| size.parse().ok()).expect("a name that ends in its size");
    let weight_bytes = write_folder(folder.path(), architecture, side, dtype);
    let [input, output] = ["input.safetensors", "output.safetensors"].map(|name| folder.path().join(name));
    let pixels = Rng::new("pixels").units(3 * side * side);
    safetensors::serialize_to_file([("pixel_values", view(&[1, 3, side, side], &pixels))], None, &input).expect("an input");
    // What the driver and the program take for a model of no size.
    let sample = crate::support::path("examples/digits/samples/printed-2.png");
    let idle = cli::vitraux(["classify".as_ref(), "--device".as_ref(), device.as_ref(), sample.as_os_str()]);
    let [model, input, output] = [folder.path(), &input, &output].map(Path::as_os_str);
    let [forward, on, of, from, to] = ["forward", "--device", "--model", "--input", "--output"].map(AsRef::as_ref);
    let run = cli::vitraux([forward, on, device.as_ref(), of, model, from, input, to, output]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ratio = run.peak_memory.zip(idle.peak_memory).map(|(peak, idle)| (peak - idle) as f64 / weight_bytes as f64);
    println!("{architecture} {dtype:?} on {device}: {} MiB of weights, memory {ratio:.3?} times that", weight_bytes >> 20);
    (open_tensor(Path::new(output), "features").expect("features").values().into_owned(), ratio)
}

#[test]
fn vit_b16_peak_memory_stays_near_weight_size() {
    let mut results = Vec::new();
    let devices = if gpu::device().is_some() { vec![("cpu", 1.3), ("gpu", 1.5)] } else { vec![("cpu", 1.3)] };
    for (device, bound) in devices {
        let (features, ratio) = run(device, "vit_base_patch16_224", Dtype::F32);
        assert!(ratio.is_none_or(|ratio| ratio <= bound), "{device} took {ratio:?} times the weights");
        results.push(features);
    }
    for result in &results {
        // The golden cases' bound for values of this size.
        assert!(largest_difference(result, &results[0]) <= 2e-5);
    }
    // Weights of 16 bits stay so.
    let (_, ratio) = run("cpu", "vit_base_patch16_224", Dtype::F16);
    assert!(ratio.is_none_or(|ratio| ratio <= 1.3), "f16 took {ratio:?} times the weights");
}

#[test]
#[ignore = "writes and reads 9 GB; `tests/run real_size -- --ignored --nocapture --test-threads 1`"]
fn largest_models_peak_memory_stays_near_weight_size() {
    for architecture in ["vit_huge_patch14_224", "vit_large_patch16_384", "vit_so400m_patch14_siglip_384"] {
        for dtype in [Dtype::F32, Dtype::F16] {
            let (features, ratio) = run("cpu", architecture, dtype);
            assert!(features.iter().all(|value| value.is_finite()));
            assert!(ratio.is_none_or(|ratio| ratio <= 1.3), "{architecture} in {dtype:?} took {ratio:?} times its weights");
        }
    }
}
