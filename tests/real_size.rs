//! ViT-B/16 at its real size, with made-up weights: every device runs it, within the memory that it may take.

use crate::support::{cli, compare::largest_difference, gpu, rng::Rng};
use safetensors::tensor::TensorView;
use std::path::Path;
use vitraux::Checkpoint;
use vitraux::checkpoint::open_tensor;

/// Writes the model as a folder from the hub.
fn write_folder(folder: &Path, checkpoint: &Checkpoint) {
    let weights: Vec<_> = checkpoint.numbered_weights().into_iter().filter(|weight| weight.stored).collect();
    let values: Vec<_> = weights.iter().map(|weight| weight.tensor.values()).collect();
    let views = weights.iter().zip(&values).map(|(weight, values)| (weight.name.as_str(), view(weight.tensor.shape(), values)));
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).expect("a checkpoint");
    std::fs::write(folder.join("config.json"), r#"{"architecture": "vit_base_patch16_224"}"#).expect("a configuration");
}

fn view<'a>(shape: &[usize], values: &'a [f32]) -> TensorView<'a> {
    TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values)).expect("as many values as the shape says")
}

#[test]
fn vit_b16_runs_within_its_memory() {
    let checkpoint = Checkpoint::random("vit_base_patch16_224").expect("a known architecture");
    // The count that the ViT paper's own code asserts.
    assert_eq!(checkpoint.parameters(), 86_567_656);
    let weight_bytes = 86_567_656 * 4;
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_folder(folder.path(), &checkpoint);
    drop(checkpoint);
    let [input, output] = ["input.safetensors", "output.safetensors"].map(|name| folder.path().join(name));
    let pixels = Rng::new("pixels").units(3 * 224 * 224);
    safetensors::serialize_to_file([("pixel_values", view(&[1, 3, 224, 224], &pixels))], None, &input).expect("an input");

    let mut results = Vec::new();
    let devices = if gpu::device().is_some() { vec!["cpu", "gpu"] } else { vec!["cpu"] };
    for device in devices {
        // What the driver and the program take for a model of no size.
        let sample = crate::support::path("examples/digits/samples/printed-2.png");
        let idle = cli::vitraux(["classify".as_ref(), "--device".as_ref(), device.as_ref(), sample.as_os_str()]);
        let [model, input, output] = [folder.path(), &input, &output].map(Path::as_os_str);
        let arguments = [
            "forward".as_ref(),
            "--device".as_ref(),
            device.as_ref(),
            "--model".as_ref(),
            model,
            "--input".as_ref(),
            input,
            "--output".as_ref(),
            output,
        ];
        let run = cli::vitraux(arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        if let (Some(peak), Some(idle)) = (run.peak_memory, idle.peak_memory) {
            println!("{device}: {} MiB at the most, {} MiB without a model, {} MiB of weights", peak >> 20, idle >> 20, weight_bytes >> 20);
            assert!(peak - idle <= weight_bytes * 3 / 2, "{device} took {peak} bytes, {idle} without a model");
        }
        results.push(open_tensor(Path::new(output), "logits").expect("logits").values().into_owned());
    }
    for result in &results {
        // The golden cases' bound for values of this size.
        assert!(largest_difference(result, &results[0]) <= 2e-5);
    }
}
