//! Calls that contradict themselves, the model or the device: each is an error that tells so, and none a panic or a wrong result.

use crate::support::host::{Host, image};
use crate::support::{gpu, path};
use std::sync::atomic::Ordering;
use vitraux::config::{Map, Size};
use vitraux::host::{GpuInput, Painting, required_features, required_limits};
use vitraux::low_level::gpu::adapters;
use vitraux::preprocess::{Preprocess, Resize};
use vitraux::{Checkpoint, Device, Error, Head, Image, Limit, Model, Session, Tensor, Tokens};

fn case(name: &str) -> Checkpoint {
    Checkpoint::open(path("tests/fixtures/cases").join(name)).expect("a checkpoint")
}

fn session_on(device: Device, checkpoint: Checkpoint) -> Session {
    Model::builder(checkpoint).device(device).load_blocking().expect("a model").session()
}

/// Without their grids or the ends of the texts, results would be others.
#[test]
fn inputs_that_need_others_are_not_encoded_alone() {
    let Some(host) = Host::new(required_features) else { return };
    for (name, size, words) in [("hf_siglip2_naflex", Size::Patches(9), "forward_patches"), ("hf_clip_text_proj", Size::Sequence(5), "forward_text")]
    {
        let checkpoint = case(name);
        let shape = checkpoint.config().input_shape(2, size).expect("a shape");
        let mut session = session_on(Device::from(host.gpu.clone()), checkpoint);
        let outputs = session.model().output_names();
        let output = outputs.last().expect("an output");
        let input = Tensor::zeros(shape);
        let error = session.encode(&mut host.encoder(), GpuInput::Tensor(&input), &[output]).expect_err("it needs another input");
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(session.forward_blocking(&input, &[output]).is_err_and(|error| error.to_string().contains(words)), "{name}");
    }
}

#[test]
fn encoded_batches_and_buffers_are_checked() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = host.session();
    for batch in [33, 65, 100] {
        let input = Tensor::zeros([batch, 1, 32, 32]);
        let error = session.encode(&mut host.encoder(), GpuInput::Tensor(&input), &["logits"]).expect_err("too many");
        assert!(matches!(error, Error::Limit { limit: Limit::Images, allowed: 32, .. }), "{error}");
    }
    assert!(session.encode(&mut host.encoder(), GpuInput::Tensor(&Tensor::zeros([32, 1, 32, 32])), &["logits"]).is_ok());
    let other = Host::new(required_features).expect("there is one");
    let foreign = other.buffer(&image(1).values(), wgpu::BufferUsages::COPY_SRC);
    let error = session.encode(&mut host.encoder(), GpuInput::Buffer(&foreign, &[1, 1, 32, 32]), &["logits"]).expect_err("of another device");
    assert!(matches!(error, Error::Device { .. }), "{error}");
    // On a CPU that comes first.
    let mut on_cpu = session_on(Device::cpu(), Checkpoint::digits());
    let error = on_cpu.encode(&mut host.encoder(), GpuInput::Tensor(&Tensor::zeros([100_000, 1, 32, 32])), &["logits"]).expect_err("no GPU");
    assert!(error.to_string().contains("expected a model on a GPU"), "{error}");
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

/// Opens a device with limits below those of WebGPU.
fn with_limits(limits: wgpu::Limits) -> Option<(Device, wgpu::Device)> {
    let index = gpu::device()?.summary().index;
    let (_, adapter) = pollster::block_on(adapters()).swap_remove(index);
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    Some((Device::builder().pipeline_cache(None).from_wgpu(&adapter, device.clone(), queue), device))
}

#[test]
fn devices_below_webgpu_and_lost_ones_load_no_model() {
    for limits in [wgpu::Limits::downlevel_defaults(), wgpu::Limits::downlevel_webgl2_defaults()] {
        let Some((device, _)) = with_limits(limits) else { return };
        let error = Model::builder(Checkpoint::digits()).device(device).load_blocking().expect_err("it would fail later");
        assert!(error.to_string().contains("required_limits"), "{error}");
    }
    let small = wgpu::Limits { max_buffer_size: 1 << 14, max_storage_buffer_binding_size: 1 << 14, ..wgpu::Limits::default() };
    let (device, _) = with_limits(small).expect("there is one");
    let error = Model::builder(Checkpoint::digits()).device(device).load_blocking().expect_err("its weights are larger");
    assert!(matches!(error, Error::Limit { limit: Limit::Buffer, .. }), "{error}");
    let host = Host::new(required_features).expect("there is one");
    host.device.destroy();
    host.wait();
    let builder = Model::builder(Checkpoint::digits()).device(Device::from(host.gpu.clone()));
    assert!(matches!(builder.load_blocking(), Err(Error::Device { .. })));
    assert_eq!(host.errors.load(Ordering::Relaxed), 0, "the call reports the loss, not the host's handler");
    assert!(required_limits(&host.adapter).max_storage_buffers_per_shader_stage >= 8);
}

#[test]
fn preprocessing_that_cannot_be_is_an_error() {
    let picture = Image::new([4, 6], 3, vec![7; 72]).expect("an image");
    let usual = || Preprocess::new([8, 8], [0.5; 3], [0.5; 3]);
    let changes: [fn(&mut Preprocess); 12] = [
        |it| it.resize = Resize::Exact([0, 8]),
        |it| it.resize = Resize::ShortestEdge(0),
        |it| it.resize = Resize::Multiple { size: [8, 8], of: 0, keeps_ratio: true },
        |it| it.resize = Resize::Patches { side: 0, most: 4 },
        |it| it.resize = Resize::Patches { side: 4, most: 0 },
        |it| it.pad = Some(0),
        |it| it.mean.truncate(1),
        |it| it.std.clear(),
        |it| it.std[1] = 0.0,
        |it| it.mean[2] = f32::NAN,
        |it| it.scale = 0.0,
        |it| it.channels = 0,
    ];
    assert!(usual().apply(&picture).is_ok());
    for (number, change) in changes.into_iter().enumerate() {
        let mut preprocess = usual();
        change(&mut preprocess);
        let refused = |error: Option<Error>| error.is_some_and(|error| matches!(error, Error::Argument { argument: "preprocess", .. }));
        assert!(refused(preprocess.apply(&picture).err()), "{number}");
        assert!(refused(preprocess.output_size([4, 6]).err()) && refused(preprocess.seen([4, 6]).err()), "{number}");
        let mut checkpoint = Checkpoint::digits();
        checkpoint.preprocess = Some(preprocess);
        assert!(refused(Model::builder(checkpoint).device(Device::cpu()).load_blocking().err()), "{number}");
    }
    let mut shortest = usual();
    shortest.resize = Resize::ShortestEdge(8);
    assert!(shortest.output_size([0, 6]).is_err() && shortest.seen([4, 0]).is_err());
    let mut cut = picture.clone();
    cut.data.truncate(70);
    let mut taller = picture;
    taller.height = usize::MAX;
    assert!([cut, taller].iter().all(|image| usual().apply(image).is_err()));
}

#[test]
fn maps_texts_and_heads_that_do_not_match_are_errors() {
    let painted = |grid, values: &[f32], images| Painting::default().on_host(&Map::of_values(grid), values, images);
    assert!(painted([2, 2], &[0.0; 8], 2).is_ok());
    for (grid, values, images) in [([0, 0], 0, 1), ([2, 2], 3, 1), ([2, 2], 4, 2), ([2, 2], 0, 0), ([usize::MAX, 2], 4, 1), ([2, 2], 4, usize::MAX)] {
        assert!(painted(grid, &vec![0.0; values], images).is_err(), "{grid:?}, {values}, {images}");
    }
    let mut session = session_on(Device::cpu(), case("hf_clip_text_proj"));
    let texts = |shape: [usize; 2]| Tokens::new(shape, vec![1; shape[0] * shape[1]], None);
    let refused = |session: &mut Session, tokens: &Tokens| {
        [session.forward_text_blocking(tokens, &["text_embeds"]).err(), session.encode_tokens_blocking(tokens).err()]
            .into_iter()
            .all(|error| error.is_some())
    };
    assert!(texts([0, 5]).is_err_and(|error| error.to_string().contains("at least one text")));
    let mut edited = texts([2, 4]).expect("tokens");
    edited.shape = [2, 0];
    assert!(refused(&mut session, &edited));
    edited.shape = [2, 5];
    assert!(refused(&mut session, &edited));
    // Also where the ends of the texts are early: what follows them is cut off later.
    assert!(refused(&mut session, &texts([1, 5000]).expect("tokens")));
    let mut foreign = texts([1, 4]).expect("tokens");
    foreign.ids[3] = u32::MAX;
    assert!(refused(&mut session, &foreign));
    let head = Head::open(path("fuzz/seeds/head/head.safetensors")).expect("a head");
    assert!(case("hf_clip_text_proj").with_head("", head).is_err_and(|error| error.to_string().contains("takes texts")));
    let model = session_on(Device::cpu(), case("hf_clip_full_legacy"));
    let model = model.model();
    assert!(model.pair_probabilities(&Tensor::zeros([2])).is_err());
    assert!(model.similarity(&Tensor::zeros([2, 0]), &Tensor::zeros([3, 0])).is_err());
}

/// Sums beyond 64 bits are no sizes.
#[test]
fn sizes_beyond_64_bits_are_errors() {
    let checkpoint = case("hf_siglip2_naflex");
    for count in [usize::MAX, usize::MAX - 1, 1 << 62] {
        assert!(checkpoint.config().tokens(Size::Patches(count)).is_err(), "{count}");
    }
    assert!(Checkpoint::digits().config().tokens(Size::Image([usize::MAX, usize::MAX])).is_err());
}

#[test]
fn panics_of_callbacks_go_on_in_the_caller() {
    // One of its own, on which nothing has been compiled.
    let Some(gpu) = gpu::smaller(|_| ()) else { return };
    let mut session = session_on(Device::from(gpu), Checkpoint::digits());
    let work = std::panic::AssertUnwindSafe(|| {
        let warm = session.warm_up(&[1, 1, 64, 64], &["logits"], |_, _| panic!("of the program"));
        pollster::block_on(warm)
    });
    let panic = std::panic::catch_unwind(work).expect_err("it panics");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"of the program"));
}

#[test]
fn images_with_an_endless_side_are_errors() {
    let preprocess = Checkpoint::digits().preprocess.expect("it takes images");
    for size in [[1, (1 << 20) + 1], [(1 << 20) + 1, 1]] {
        let image = Image::new(size, 1, vec![0; (1 << 20) + 1]).expect("an image");
        assert!(preprocess.apply(&image).is_err_and(|error| error.to_string().contains("along a side")), "{size:?}");
    }
}

/// A classifier over the mean of SigLIP 2's tokens. The kernel of the mean knows of no padding.
#[test]
fn means_of_padded_patches_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = path("tests/fixtures/cases/hf_siglip2_naflex");
    let root = crate::support::json("tests/fixtures/cases/hf_siglip2_naflex/config.json");
    let mut config = root["vision_config"].clone();
    config["architectures"] = serde_json::json!(["Siglip2ForImageClassification"]);
    config["num_labels"] = 2.into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("it is written");
    let bytes = std::fs::read(base.join("model.safetensors")).expect("weights");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let head = [0u8; 4 * 2 * 32];
    let of = |shape: &[usize]| {
        let len = 4 * shape.iter().product::<usize>();
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &head[..len]).expect("a tensor")
    };
    let mut tensors: Vec<_> = file.iter().filter(|(name, _)| name.starts_with("vision_model.") && !name.starts_with("vision_model.head.")).collect();
    tensors.extend([("classifier.weight", of(&[2, 32])), ("classifier.bias", of(&[2]))]);
    safetensors::serialize_to_file(tensors, None, &folder.path().join("model.safetensors")).expect("it is written");
    let mut session = session_on(Device::cpu(), Checkpoint::open(folder.path()).expect("a checkpoint"));
    let shape = session.model().config().input_shape(1, Size::Patches(16)).expect("a shape");
    let patches = Tensor::zeros(shape);
    assert!(session.forward_patches_blocking(&patches, &[[4, 4]], &["logits"]).is_ok());
    let error = session.forward_patches_blocking(&patches, &[[2, 3]], &["logits"]).expect_err("padded");
    assert!(error.to_string().contains("padding would count"), "{error}");
    assert!(session.forward_patches_blocking(&patches, &[[2, 3]], &["tokens"]).is_ok());
}
