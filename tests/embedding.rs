//! vitraux on a device that a host lends: a host program, as somebody would write it.

use crate::support::gpu;
use crate::support::host::{Host, alone, image, is_pending};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use vitraux::Precision;
use vitraux::host::GpuInput;
use vitraux::low_level::gpu::{Budget, TextureImage, cooperative_features, required_features};
use vitraux::{Checkpoint, Device, Error, Image, Model, Session, Tensor};

const WANTED: [&str; 3] = ["logits", "tokens", "attn.3"];

#[test]
fn encode_submits_nothing_and_matches_standalone_outputs() {
    let Some(host) = Host::new(required_features) else { return };
    let before = host.submit(None);
    let mut session = host.session();
    let (first, second) = (image(1), image(2));
    let mut encoder = host.encoder();
    // Two passes in one command buffer: the first one's outputs are read before the second writes them.
    let outputs = session.encode(&mut encoder, GpuInput::Tensor(&first), &WANTED).expect("it is recorded");
    let read_first = WANTED.map(|name| outputs[name].encode_read(&mut encoder));
    let again = session.encode(&mut encoder, GpuInput::Tensor(&second), &WANTED).expect("it is recorded");
    assert_eq!(again["logits"].buffer(), outputs["logits"].buffer());
    let read_second = WANTED.map(|name| again[name].encode_read(&mut encoder));
    assert_eq!(host.submit(Some(encoder)), before + 1, "only the host submits");
    let mut pending: Vec<_> = read_first.into_iter().chain(read_second).map(|readback| Box::pin(readback.values())).collect();
    for readback in &mut pending {
        assert!(is_pending(readback), "the host has not polled its device yet");
    }
    host.wait();
    let values: Vec<_> = pending.into_iter().map(|readback| pollster::block_on(readback).expect("values")).collect();
    let mut values = values.into_iter();
    for input in [&first, &second] {
        let expected = alone(input, &WANTED);
        for name in WANTED {
            let got = values.next().expect("as many as asked for");
            assert_eq!((got.shape(), got.values()), (expected[name].shape(), expected[name].values()), "{name}");
        }
    }
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

#[test]
fn encode_accepts_host_buffers_as_input() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = host.session();
    let input = image(3);
    let buffer = host.buffer(&input.values(), wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::STORAGE);
    let mut encoder = host.encoder();
    let outputs = session.encode(&mut encoder, GpuInput::Buffer(&buffer, &[1, 1, 32, 32]), &["logits"]).expect("it is recorded");
    let readback = outputs["logits"].encode_read(&mut encoder);
    host.submit(Some(encoder));
    let values = std::thread::scope(|scope| {
        let reader = scope.spawn(|| pollster::block_on(readback.values()).expect("values"));
        while !reader.is_finished() {
            host.wait();
        }
        reader.join().expect("it reads")
    });
    assert_eq!(values.values(), alone(&input, &["logits"])["logits"].values());
    let small = host.buffer(&[0.0; 10], wgpu::BufferUsages::COPY_SRC);
    let unreadable = host.buffer(&[0.0; 1024], wgpu::BufferUsages::STORAGE);
    for (buffer, words) in [(&small, "found 40 bytes"), (&unreadable, "with usage COPY_SRC")] {
        let error = session.encode(&mut host.encoder(), GpuInput::Buffer(buffer, &[1, 1, 32, 32]), &["logits"]).expect_err("it is refused");
        assert!(matches!(&error, Error::Argument { message, .. } if message.contains(words)), "{error}");
    }
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

#[test]
fn host_handlers_survive_and_missing_features_are_tolerated() {
    let Some(host) = Host::new(|_| wgpu::Features::empty()) else { return };
    let lost = Arc::new(Mutex::new(None));
    let told = lost.clone();
    host.device.set_device_lost_callback(move |reason, _| *told.lock().expect("no panic") = Some(reason));
    let mut session = host.session();
    assert_eq!((host.gpu.summary().capabilities.subgroup, host.gpu.takes_times()), (0, false));
    let mut encoder = host.encoder();
    let outputs = session.encode(&mut encoder, GpuInput::Tensor(&image(4)), &["logits"]).expect("it is recorded");
    let readback = outputs["logits"].encode_read(&mut encoder);
    host.submit(Some(encoder));
    let mut values = Box::pin(readback.values());
    assert!(is_pending(&mut values));
    host.wait();
    let values = pollster::block_on(values).expect("values");
    let expected = alone(&image(4), &["logits"]);
    assert!(crate::support::compare::largest_difference(&values.values(), &expected["logits"].values()) <= 1e-5, "other kernels, near results");
    // A mistake of the host's reaches the host.
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::STORAGE;
    let _ = host.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: u64::MAX, usage, mapped_at_creation: false });
    assert_eq!(host.errors.load(Ordering::Relaxed), 1);
    drop(session);
    host.device.destroy();
    host.wait();
    assert_eq!(*lost.lock().expect("no panic"), Some(wgpu::DeviceLostReason::Destroyed));
}

/// Two models on one device; what one takes is free when it is dropped, and the other goes on.
#[test]
fn dropped_sessions_free_their_memory_on_shared_device() {
    let Some(host) = Host::new(required_features) else { return };
    let counts = || {
        host.submit(None);
        host.wait();
        let counters = host.device.get_internal_counters().hal;
        (counters.buffers.read(), counters.buffer_memory.read())
    };
    let mut stays = host.session();
    let encode = |session: &mut Session| {
        let mut encoder = host.encoder();
        let outputs = session.encode(&mut encoder, GpuInput::Tensor(&image(5)), &["logits"]).expect("it is recorded");
        drop(outputs);
        host.submit(Some(encoder));
    };
    encode(&mut stays);
    let before = counts();
    let mut goes = host.session();
    encode(&mut goes);
    assert!(counts().1 > before.1 + 400_000, "{:?} {before:?}", counts());
    drop(goes);
    encode(&mut stays);
    assert_eq!(counts(), before);
    for _ in 0..100 {
        encode(&mut stays);
    }
    assert_eq!(counts(), before, "a hundred passes take no more memory");
}

#[test]
fn encode_on_a_cpu_session_is_refused() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = Model::builder(Checkpoint::digits()).device(Device::cpu()).load_blocking().expect("a model").session();
    let error = session.encode(&mut host.encoder(), GpuInput::Tensor(&image(6)), &["logits"]).expect_err("it has no GPU");
    assert!(error.to_string().contains("expected a model on a GPU"), "{error}");
}

/// A texture with an image's levels at (3, 2) in it, noise around, in a format; what the format decodes is encoded.
fn texture(host: &Host, image: &Image, format: wgpu::TextureFormat) -> wgpu::Texture {
    let (width, height) = (image.width + 7, image.height + 5);
    let level = |x: usize, y: usize, c: usize| -> u8 {
        match (x.checked_sub(3), y.checked_sub(2)) {
            (Some(x), Some(y)) if x < image.width && y < image.height => image.data[(y * image.width + x) * 3 + c],
            _ => ((x * 131 + y * 71 + c * 17) % 256) as u8,
        }
    };
    let light = |level: u8| {
        let encoded = f32::from(level) / 255.0;
        if encoded <= 0.04045 { encoded / 12.92 } else { ((encoded + 0.055) / 1.055).powf(2.4) }
    };
    let bytes: Vec<u8> = (0..width * height)
        .flat_map(|i| {
            let rgb = [0, 1, 2].map(|c| level(i % width, i / width, c));
            match format {
                wgpu::TextureFormat::Rgba32Float => {
                    [light(rgb[0]), light(rgb[1]), light(rgb[2]), 1.0].iter().flat_map(|value| value.to_le_bytes()).collect()
                }
                wgpu::TextureFormat::Bgra8Unorm => vec![rgb[2], rgb[1], rgb[0], 255],
                wgpu::TextureFormat::R8Unorm => vec![rgb[0]],
                _ => vec![rgb[0], rgb[1], rgb[2], 255],
            }
        })
        .collect();
    let size = wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 };
    let texture = host.device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    });
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some((bytes.len() / height) as u32), rows_per_image: None };
    host.queue.write_texture(texture.as_image_copy(), &bytes, layout, size);
    texture
}

/// The same output from an image in a texture and from what the host prepares of it.
#[test]
fn texture_images_match_host_preprocessing() {
    use wgpu::TextureFormat::{Bgra8Unorm, R8Unorm, Rgba8Unorm, Rgba8UnormSrgb, Rgba32Float};
    let Some(host) = Host::new(required_features) else { return };
    let mut compared = 0;
    // Exact sizes, crops, padding, grey, on white or not, rounded or not.
    let cases =
        ["timm_vit_tiny", "timm_dynamic_pad", "hf_dinov3_vit", "hf_deit_model", "hf_siglip_cls", "hf_clip_cls", "hf4_vit_hybrid", "hf_msn_cls"];
    let folders = cases.map(|name| crate::support::path("tests/fixtures/cases").join(name)).into_iter();
    let checkpoints = folders.map(|folder| Checkpoint::open(folder).expect("a checkpoint")).chain([Checkpoint::digits()]);
    for checkpoint in checkpoints {
        let preprocess = checkpoint.preprocess.clone().expect("it takes images");
        let name = checkpoint.config().name.clone();
        let mut session = Model::builder(checkpoint).device(Device::from(host.gpu.clone())).load_blocking().expect("a model").session();
        for [height, width] in [[61, 47], [33, 150], [224, 224]] {
            let level = |i: usize| ((i * 7919) % 251 + i % 5) as u8;
            let rectangle = Some([3, 2, width as u32, height as u32]);
            // A texture of one channel has grey levels.
            for (repeated, formats) in [(1, &[Rgba8Unorm, Rgba8UnormSrgb, Bgra8Unorm, Rgba32Float][..]), (3, &[R8Unorm])] {
                let data = (0..height * width * 3).map(|i| level(i / repeated)).collect();
                let image = Image::new([height, width], 3, data).expect("an image");
                let textures: Vec<_> = formats.iter().map(|format| texture(&host, &image, *format)).collect();
                let views: Vec<_> = textures.iter().map(|texture| texture.create_view(&wgpu::TextureViewDescriptor::default())).collect();
                let images: Vec<_> = views.iter().map(|view| TextureImage::new(view).rectangle(rectangle)).collect();
                let mut encoder = host.encoder();
                let from_textures = session.encode(&mut encoder, GpuInput::Images(&images), &["embeddings"]).expect("it is recorded");
                let from_textures = from_textures["embeddings"].encode_read(&mut encoder);
                let pixel_values = preprocess.apply(&image).expect("pixel values");
                let from_host = session.encode(&mut encoder, GpuInput::Tensor(&pixel_values), &["embeddings"]).expect("it is recorded");
                let from_host = from_host["embeddings"].encode_read(&mut encoder);
                host.submit(Some(encoder));
                let mut readings = [from_textures, from_host].map(|readback| Box::pin(readback.values()));
                assert!(readings.iter_mut().all(is_pending));
                host.wait();
                let [got, want] = readings.map(|reading| pollster::block_on(reading).expect("values"));
                let (got, want) = (got.values(), want.values());
                let largest = want.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                for (values, format) in got.chunks(want.len()).zip(formats) {
                    let difference = crate::support::compare::largest_difference(values, &want);
                    // Levels are the same; scaled by a factor in f32 they may differ in the last bit, which a ResNet in front makes larger.
                    assert!(difference <= 1e-5 * largest, "{name}, {height} x {width}, {format:?}: {difference} of {largest}");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 9 * 3 * 5);
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

#[test]
fn unreadable_textures_are_refused() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = host.session();
    let make = |format, usage, samples| {
        let size = wgpu::Extent3d { width: 40, height: 30, depth_or_array_layers: 1 };
        let texture = host.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size,
            mip_level_count: 1,
            sample_count: samples,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage,
            view_formats: &[],
        });
        texture.create_view(&wgpu::TextureViewDescriptor::default())
    };
    let (sampled, drawn) = (wgpu::TextureUsages::TEXTURE_BINDING, wgpu::TextureUsages::RENDER_ATTACHMENT);
    let good = make(wgpu::TextureFormat::Rgba8Unorm, sampled, 1);
    let integers = make(wgpu::TextureFormat::Rgba8Uint, sampled, 1);
    let unreadable = make(wgpu::TextureFormat::Rgba8Unorm, drawn, 1);
    let samples = make(wgpu::TextureFormat::Rgba8Unorm, sampled | drawn, 4);
    let mut refused = |image: TextureImage<'_>| {
        let error = session.encode(&mut host.encoder(), GpuInput::Images(&[image]), &["logits"]).expect_err("it is refused");
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        error.to_string()
    };
    for (view, words) in [(&integers, "Rgba8Uint"), (&unreadable, "RENDER_ATTACHMENT"), (&samples, "4 samples")] {
        let message = refused(TextureImage::new(view));
        assert!(message.contains(words), "{message}");
    }
    for rectangle in [[0, 0, 41, 30], [40, 0, 1, 1], [0, 0, 0, 5], [5, 5, u32::MAX, 1]] {
        let message = refused(TextureImage::new(&good).rectangle(rectangle));
        assert!(message.contains("inside 40 x 30"), "{message}");
    }
    let error = session.encode(&mut host.encoder(), GpuInput::Images(&[]), &["logits"]).expect_err("no image");
    assert!(matches!(error, Error::Argument { .. }), "{error}");
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

/// The values of some outputs, once what was recorded has run.
fn values(host: &Host, outputs: &vitraux::host::GpuOutputs, names: &[&str]) -> Vec<Vec<f32>> {
    let mut encoder = host.encoder();
    let mut readings: Vec<_> = names.iter().map(|name| Box::pin(outputs[*name].encode_read(&mut encoder).values())).collect();
    host.submit(Some(encoder));
    assert!(readings.iter_mut().all(is_pending));
    host.wait();
    readings.into_iter().map(|reading| pollster::block_on(reading).expect("values").values().into_owned()).collect()
}

/// Slices of any budget give what the whole gives, to the bit, and there are the fewer of them the larger it is.
#[test]
fn sliced_pass_follows_budget_and_matches_whole_pass() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = host.session();
    let input = image(7);
    let whole: Vec<Vec<f32>> = {
        let mut encoder = host.encoder();
        let outputs = session.encode(&mut encoder, GpuInput::Tensor(&input), &WANTED).expect("it is recorded");
        host.submit(Some(encoder));
        values(&host, &outputs, &WANTED)
    };
    let calls = session.profile_blocking(&input, &WANTED).expect("times").len();
    let budgets = [0, 200, 2000, u32::MAX];
    let follows_budgets = || {
        let counts = budgets.map(|microseconds| {
            let (count, values) = slices(&host, &mut session, &input, microseconds);
            assert_eq!(values, whole, "{microseconds} microseconds a slice");
            count
        });
        // One for each kernel call, and for the copies of the input and of the outputs.
        assert_eq!((counts[0], counts[3]), (calls + 1 + WANTED.len(), 1));
        counts[0] > counts[1] && counts[1] > counts[2]
    };
    // On a busy machine, each call of a round may take longer than the smaller budgets.
    assert!(std::iter::repeat_with(follows_budgets).take(20).any(|follows| follows));
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

/// A device that cannot take times has its slices cut by an estimate.
#[test]
fn slices_without_timestamps_use_estimated_times() {
    let Some(host) = Host::new(|adapter| required_features(adapter) - wgpu::Features::TIMESTAMP_QUERY) else { return };
    let mut session = host.session();
    let (small, large) = (slices(&host, &mut session, &image(8), 300), slices(&host, &mut session, &image(8), u32::MAX));
    assert!(small.0 > 1 && large.0 == 1, "{} {}", small.0, large.0);
    assert_eq!(small.1, large.1);
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

/// Times are corrected by what slices take: after some passes there are about as many slices of a budget as the passes' real time has room for.
#[test]
fn slice_estimates_adapt_to_measured_times() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = host.session();
    let input = image(11);
    let budget = 1500;
    let careful = slices(&host, &mut session, &input, budget).0;
    let seconds: Vec<f64> = (0..20)
        .map(|_| {
            slices(&host, &mut session, &input, budget);
            session.profile_blocking(&input, &["logits"]).expect("times").iter().map(|timing| timing.seconds).sum()
        })
        .collect();
    let learned = slices(&host, &mut session, &input, budget).0;
    let typical = seconds.iter().sum::<f64>() / seconds.len() as f64;
    println!("{careful} slices by the estimate, {learned} in the end, for {:.0} us", typical * 1e6);
    // Each is at least half full, or holds one call; other programs may have slowed the machine down meanwhile.
    assert!(learned <= careful.max((8.0 * typical * 1e6 / f64::from(budget)) as usize + 2), "{careful} and then {learned} slices for {typical} s");
}

/// Commands that are never submitted give an error, not a wait without end.
#[test]
fn readback_of_dropped_commands_fails() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = host.session();
    let mut encoder = host.encoder();
    let outputs = session.encode(&mut encoder, GpuInput::Tensor(&image(12)), &["logits"]).expect("it is recorded");
    let readback = outputs["logits"].encode_read(&mut encoder);
    drop(encoder);
    let error = pollster::block_on(readback.values()).expect_err("nothing was submitted").to_string();
    assert!(error.contains("not submitted"), "{error}");
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

/// How many slices a job of a budget has, each in a submission of its own, and what comes out.
fn slices(host: &Host, session: &mut Session, input: &Tensor, microseconds: u32) -> (usize, Vec<Vec<f32>>) {
    let mut job = session.start(GpuInput::Tensor(input), &WANTED).expect("it begins");
    let mut count = 0;
    loop {
        let mut encoder = host.encoder();
        let is_whole = job.encode_slice(&mut encoder, Budget::microseconds(microseconds));
        host.submit(Some(encoder));
        count += 1;
        if is_whole {
            return (count, values(host, &job.outputs(), &WANTED));
        }
    }
}

/// While a job is under way the session does other work, of the same shape too.
#[test]
fn sliced_job_is_unaffected_by_interleaved_encodes() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = host.session();
    let (slow, quick) = (image(8), image(9));
    let mut job = session.start(GpuInput::Tensor(&slow), &["logits"]).expect("it begins");
    let mut between = Vec::new();
    let mut is_whole = false;
    while !is_whole {
        let mut encoder = host.encoder();
        is_whole = job.encode_slice(&mut encoder, Budget::microseconds(500));
        let outputs = session.encode(&mut encoder, GpuInput::Tensor(&quick), &["logits"]).expect("it is recorded");
        host.submit(Some(encoder));
        between.push(values(&host, &outputs, &["logits"]));
    }
    let expected = |input| vec![alone(input, &["logits"])["logits"].values().into_owned()];
    assert_eq!(values(&host, &job.outputs(), &["logits"]), expected(&slow));
    assert!(between.len() > 1 && between.iter().all(|values| *values == expected(&quick)));
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

/// What was warmed up compiles nothing more, and submits nothing.
#[test]
fn warm_up_compiles_everything_and_reports_progress() {
    let Some(host) = Host::new(required_features) else { return };
    let before = host.submit(None);
    let mut session = host.session();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let progress = move |done: usize, of: usize| heard.lock().expect("no panic").push((done, of));
    session.warm_up_blocking(&[1, 1, 32, 32], &["logits"], progress.clone()).expect("it compiles");
    let mut first = std::mem::take(&mut *told.lock().expect("no panic"));
    first.sort_unstable();
    let count = first.len();
    assert!(count > 5 && first.iter().enumerate().all(|(i, told)| *told == (i + 1, count)), "{first:?}");
    session.warm_up_blocking(&[1, 1, 32, 32], &["logits"], progress.clone()).expect("it is compiled");
    session.warm_up_blocking(&[2, 1, 32, 32], &["logits"], progress).expect("other sizes have the same kernels");
    assert_eq!(told.lock().expect("no panic").len(), 0);
    assert_eq!(host.submit(None), before + 1, "nothing is submitted");
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

/// Compiled pipelines are kept where the host says; what is damaged there changes nothing.
#[test]
fn compiled_pipelines_are_cached_in_a_folder() {
    let Some(host) = Host::new(required_features) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let files = || std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>();
    let logits = |folder: Option<&std::path::Path>| {
        let device = Device::builder().pipeline_cache(folder.map(Into::into)).from_wgpu(&host.adapter, host.device.clone(), host.queue.clone());
        let mut session = Model::builder(Checkpoint::digits()).device(device).load_blocking().expect("a model").session();
        let mut encoder = host.encoder();
        let outputs = session.encode(&mut encoder, GpuInput::Tensor(&image(10)), &["logits"]).expect("it is recorded");
        let mut values = Box::pin(outputs["logits"].encode_read(&mut encoder).values());
        host.submit(Some(encoder));
        assert!(is_pending(&mut values));
        host.wait();
        pollster::block_on(values).expect("values").values().to_vec()
    };
    let expected = logits(None);
    assert!(files().is_empty());
    assert_eq!(logits(Some(folder.path())), expected);
    if !host.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
        assert!(files().is_empty());
        return;
    }
    let file = files().pop().expect("a file");
    let whole = std::fs::read(&file).expect("it is there");
    let foreign = String::from_utf8_lossy(&whole).replace("Vulkan", "Elsewhere").into_bytes();
    for damaged in [&b"no such thing"[..], &[], &whole[..whole.len() / 2], &[&whole[..], b"more"].concat(), &foreign] {
        std::fs::write(&file, damaged).expect("it is written");
        assert_eq!(logits(Some(folder.path())), expected);
        assert_eq!(files().len(), 1);
        assert_eq!(std::fs::read(&file).expect("it is there").len(), whole.len(), "it is written anew");
    }
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

/// A host that unlocks cooperative matrices has them used: in f16, with the answers of the others within what f16 rounds.
#[test]
fn cooperative_matrices_of_a_host_device_are_used() {
    let features = |adapter: &wgpu::Adapter| required_features(adapter) | cooperative_features(adapter);
    // SAFETY: of the experimental features only cooperative matrices are asked for, which our kernels load and store inside workgroup memory.
    let Some(host) = Host::opened(features, unsafe { wgpu::ExperimentalFeatures::enabled() }) else { return };
    let own = gpu::device().expect("there is one").summary().capabilities.cooperative;
    assert_eq!(host.gpu.summary().capabilities.cooperative, own, "as on a device that vitraux opens");
    if own == 0 {
        println!("SKIPPED: the device has no cooperative matrices; tests/cooperative has one that does");
    }
    let load = |device| Model::builder(Checkpoint::digits()).device(device).precision(Precision::F16).load_blocking().expect("a model").session();
    let mut session = load(Device::from(host.gpu.clone()));
    let mut encoder = host.encoder();
    let outputs = session.encode(&mut encoder, GpuInput::Tensor(&image(13)), &["logits"]).expect("it is recorded");
    host.submit(Some(encoder));
    let got = values(&host, &outputs, &["logits"]).remove(0);
    let expected = load(Device::from(gpu::device().expect("there is one"))).forward_blocking(&image(13), &["logits"]).expect("outputs");
    assert_eq!(got, *expected["logits"].values(), "the same kernels, the same answers");
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}
