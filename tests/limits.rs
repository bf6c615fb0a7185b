//! Devices with small limits: what is too large is cut, and what cannot be cut is said.

use crate::support::{compare::largest_difference, gpu, path};
use vitraux::Precision;
use vitraux::low_level::panels::Packed;
use vitraux::{Checkpoint, Device, Error, Limit, Model, Outputs, Tensor};

fn forward(device: Device, batch: usize, wanted: &[&str]) -> vitraux::Result<Outputs> {
    let checkpoint = Checkpoint::open(path("tests/fixtures/cases/timm_vit_tiny"))?;
    let values = crate::support::cases::Rng::new("pixels").units(batch * 3 * 64 * 64);
    let pixel_values = Tensor::new([batch, 3, 64, 64], values)?;
    Model::builder(checkpoint).device(device).load_blocking()?.session().forward_blocking(&pixel_values, wanted)
}

/// The widest activation is hidden, [B, 65, 192] = 49,920 bytes an image: under 128 KiB a batch of 5 is
/// cut to passes of 2, 2 and 1. The widest weight, [192, 48] = 36,864 bytes, still fits.
#[test]
fn large_batches_are_split_to_fit_binding_limit() {
    let Some(small) = gpu::smaller(|limits| limits.binding_bytes = 128 * 1024) else { return };
    let whole = forward(Device::cpu(), 5, &["logits", "hidden.1"]).expect("the CPU has no limits");
    let cut = forward(Device::from(small), 5, &["logits", "hidden.1"]).expect("it fits when cut");
    for (name, tensor) in &whole {
        assert_eq!(tensor.shape(), cut[name].shape());
        assert!(largest_difference(&tensor.values(), &cut[name].values()) <= 1e-5, "{name}");
    }
}

/// [192, 48] = 36,864 bytes are more than 32 KiB, so that mlp1 is read in bands of 128 rows and 64; the
/// image itself, [1, 3, 64, 64] = 49,152 bytes, cannot be cut.
#[test]
fn unsplittable_tensor_is_named_in_the_error() {
    let Some(small) = gpu::smaller(|limits| limits.binding_bytes = 32 * 1024) else { return };
    let error = forward(Device::from(small), 1, &["logits"]).unwrap_err();
    assert!(
        matches!(&error, Error::Limit { what, limit: Limit::Buffer | Limit::Binding, needed, allowed } if what.contains("patchify.unfold") && needed > allowed),
        "{error}"
    );
}

/// A product whose weight does not fit one binding gives the same as one whose weight does.
#[test]
fn large_weights_are_read_in_bands() {
    use vitraux::low_level::kernels::{self, Epilogue};
    use vitraux::low_level::record::{Command, Recording};
    let Some(small) = gpu::smaller(|limits| limits.binding_bytes = 64 * 1024) else { return };
    let [m, n, k] = [7, 400, 100];
    let recording = {
        let mut recording = Recording::new(small.summary().capabilities);
        let x = recording.input("x", &[m, k]).expect("it fits");
        let w = recording.input_factor("w", [n, k]).expect("160,000 bytes fit a buffer");
        let bias = recording.input("bias", &[n]).expect("it fits");
        let y = recording.scratch("y", &[m, n]).expect("it fits");
        crate::support::cases::poison(&mut recording, y);
        kernels::matmul(&mut recording, "banded".into(), x, [w, bias], Epilogue::Bias, y).expect("each band fits");
        recording.save("y", y);
        recording
    };
    let dispatches = recording.commands().iter().filter(|command| matches!(command, Command::Dispatch(_))).count();
    assert_eq!(dispatches, 1 + 4, "a poisoning, and bands of 128 rows");
    let mut rng = crate::support::cases::Rng::new("bands");
    let [x, w, bias] = [m * k, n * k, n].map(|count| rng.units(count));
    let Packed::F32(w) = Packed::new(&w, [n, k], Precision::F32) else { panic!("f32") };
    let got = crate::support::replay::on_gpu(&small, &recording, &[&x, &w, &bias]).expect("the device runs it").remove(0);
    let twin = crate::support::replay::on_cpu(&recording, &[&x, &w, &bias]).remove(0);
    assert!(largest_difference(&got, &twin) <= 1e-5);
}

/// Grids that are longer than a dimension allows are folded.
#[test]
fn long_grids_are_folded() {
    let Some(small) = gpu::smaller(|limits| limits.workgroups = 40) else { return };
    let whole = forward(Device::cpu(), 2, &["tokens", "attn.0"]).expect("the CPU has no limits");
    let folded = forward(Device::from(small), 2, &["tokens", "attn.0"]).expect("it fits when folded");
    assert!(largest_difference(&whole["tokens"].values(), &folded["tokens"].values()) <= 1e-5);
    assert!(largest_difference(&whole["attn.0"].values(), &folded["attn.0"].values()) <= 1e-5);
}

/// A second forward makes no buffer, and allocates none of the device's memory.
#[test]
fn repeated_forward_allocates_no_gpu_memory() {
    let Some(own) = gpu::smaller(|_| {}) else { return };
    let checkpoint = Checkpoint::open(path("tests/fixtures/cases/timm_vit_tiny")).expect("a checkpoint");
    let mut session = Model::builder(checkpoint).device(Device::from(own.clone())).load_blocking().expect("a model").session();
    let pixel_values = Tensor::zeros([2, 3, 64, 64]);
    session.forward_blocking(&pixel_values, &["logits", "hidden.0"]).expect("outputs");
    let before = own.buffer_counts();
    assert!(before.0 > 50 && before.1 > 395_000, "the counters count: {before:?}");
    for _ in 0..20 {
        session.forward_blocking(&pixel_values, &["logits", "hidden.0"]).expect("outputs");
        assert_eq!(own.buffer_counts(), before);
    }
}

/// A batch of several passes, two of which are under way at a time, gives what its images give by themselves, and keeps to its buffers.
#[test]
fn overlapping_passes_do_not_interfere() {
    let Some(own) = gpu::smaller(|_| {}) else { return };
    let mut session = Model::builder(Checkpoint::digits()).device(Device::from(own.clone())).load_blocking().expect("a model").session();
    let (images, len) = (64 * 3 + 5, 32 * 32);
    let values: Vec<f32> = (0..images * len).map(|i| ((i % len) as f32 * 0.01 * (1 + i / len) as f32).sin()).collect();
    let whole = Tensor::new([images, 1, 32, 32], values.clone()).expect("a tensor");
    let mut before = None;
    for _ in 0..3 {
        let together = session.forward_blocking(&whole, &["logits"]).expect("logits").remove("logits").expect("asked for");
        assert_eq!(together.shape(), [images, 10]);
        assert_eq!(*before.get_or_insert(own.buffer_counts()), own.buffer_counts());
        for image in [0, 63, 64, 127, 128, 191, 192, 196] {
            let alone = Tensor::new([1, 1, 32, 32], values[image * len..][..len].to_vec()).expect("a tensor");
            let alone = session.forward_blocking(&alone, &["logits"]).expect("logits").remove("logits").expect("asked for");
            assert!(largest_difference(&together.values()[image * 10..][..10], &alone.values()) <= 1e-5, "image {image}");
        }
        before = Some(own.buffer_counts());
    }
}

/// A device's memory is what `inspect` says: weights and scratch, to within 5 %.
#[test]
fn gpu_memory_use_matches_the_estimate() {
    use vitraux::config::Size;
    use vitraux::low_level::forward::{Request, Tables, record};
    let Some(own) = gpu::smaller(|_| {}) else { return };
    for (architecture, batch) in [("vit_tiny_patch16_224", 1), ("vit_tiny_patch16_224", 4)] {
        let checkpoint = Checkpoint::random(architecture).expect("a known architecture");
        let Size::Image(side) = checkpoint.config().native_size() else { panic!("it takes images") };
        let Ok(weights) = checkpoint.weights.clone().try_map_all(|weight| Ok::<_, std::convert::Infallible>(weight.info()));
        let tables = Tables::at(checkpoint.config(), &checkpoint.positions, Size::Image(side)).expect("tables");
        let request = Request { batch, size: Size::Image(side), masked: false, levels: false, wanted: vec!["logits".to_owned()] };
        let recording =
            record(checkpoint.config(), &weights, &tables, &request, vitraux::low_level::record::Recording::new(own.summary().capabilities))
                .expect("it fits");
        let said = recording.weight_bytes() + recording.scratch_bytes();
        let before = own.buffer_counts().1;
        let mut session = Model::builder(checkpoint).device(Device::from(own.clone())).load_blocking().expect("a model").session();
        session.forward_blocking(&Tensor::zeros([batch, 3, side[0], side[1]]), &["logits"]).expect("logits");
        let taken = (own.buffer_counts().1 - before) as f64;
        println!("{architecture}, batch {batch}: said {said}, taken {taken}");
        assert!((taken / said as f64 - 1.0).abs() <= 0.05, "{architecture}, batch {batch}: {said} bytes were said, {taken} taken");
    }
}

/// Tables of positions are made once for each size, and stay.
#[test]
fn alternating_image_sizes_allocate_no_gpu_memory() {
    let Some(own) = gpu::smaller(|_| {}) else { return };
    let checkpoint = Checkpoint::open(path("tests/fixtures/cases/timm_dynamic_size")).expect("a checkpoint");
    let mut session = Model::builder(checkpoint).device(Device::from(own.clone())).load_blocking().expect("a model").session();
    let mut before = None;
    for round in 0..4 {
        for size in [[64, 64], [96, 64], [48, 112]] {
            session.forward_blocking(&Tensor::zeros([1, 3, size[0], size[1]]), &["logits"]).expect("outputs");
        }
        if round > 0 {
            assert_eq!(*before.get_or_insert(own.buffer_counts()), own.buffer_counts());
        }
    }
}

#[test]
fn invalid_forward_arguments_are_rejected() {
    for device in gpu::devices() {
        let mut session = Model::builder(Checkpoint::digits()).device(device).load_blocking().expect("a model").session();
        for shape in [vec![1, 3, 32, 32], vec![0, 1, 32, 32], vec![1, 32, 32], vec![]] {
            let error = session.forward_blocking(&Tensor::zeros(shape), &["logits"]).unwrap_err().to_string();
            assert!(error.contains("expected [B, 1, height, width]"), "{error}");
        }
        for (shape, words) in [([1, 1, 32, 31], "do not divide"), ([1, 1, 2, 32], "larger than the image"), ([1, 1, 4000, 4000], "are supported")] {
            let error = session.forward_blocking(&Tensor::zeros(shape), &["logits"]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = session.forward_masked_blocking(&Tensor::zeros([1, 1, 32, 32]), &Tensor::zeros([1, 1]), &["logits"]).unwrap_err().to_string();
        assert!(error.contains("takes images"), "{error}");
        let nan = Tensor::new([1, 1, 32, 32], vec![f32::NAN; 1024]).expect("a tensor");
        let error = session.forward_blocking(&nan, &["logits"]).unwrap_err().to_string();
        assert!(error.contains("pixel_values") && error.contains("NaN"), "{error}");
        let error = session.forward_blocking(&Tensor::zeros([1, 1, 32, 32]), &["hidden.4"]).unwrap_err().to_string();
        assert!(error.contains("hidden.4") && error.contains("hidden.0 to hidden.3"), "{error}");
    }
}

/// Sequences of embeddings: another width, more tokens than the model was made for, a mask of another shape or of everything.
#[test]
fn invalid_sequences_and_masks_are_rejected() {
    let checkpoint = Checkpoint::open(path("tests/fixtures/cases/torch_postnorm_encoder")).expect("a checkpoint");
    let mut session = Model::builder(checkpoint).device(Device::cpu()).load_blocking().expect("a model").session();
    for (shape, words) in [(vec![1, 5, 35], "expected [B, N, 36]"), (vec![1, 65, 36], "expected 1 to 64"), (vec![1, 0, 36], "expected 1 to 64")] {
        let error = session.forward_blocking(&Tensor::zeros(shape), &["output"]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut masked = |shape: [usize; 2], ignored: Vec<f32>| {
        let mask = Tensor::new(shape, ignored).expect("a mask");
        session.forward_masked_blocking(&Tensor::zeros([2, 3, 36]), &mask, &["output"]).map(|_| ()).unwrap_err().to_string()
    };
    assert!(masked([2, 4], vec![0.0; 8]).contains("expected [2, 3], found [2, 4]"));
    assert!(masked([2, 3], vec![0.0, 1.0, 1.0, 1.0, 1.0, 1.0]).contains("sequence 1 is fully masked"));
}
