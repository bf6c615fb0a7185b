//! The library in a browser, on its WebGPU: run by `tests/web/run`.

#![cfg(target_arch = "wasm32")]

use futures_util::join;
use gloo_timers::callback::Interval;
use safetensors::SafeTensors;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::rc::Rc;
use vitraux::low_level::cases::{self, Case};
use vitraux::low_level::gpu::{Plan, WeightBuffers};
use vitraux::{Checkpoint, Device, DeviceChoice, Model, Tensor};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// Passes of each session on the GPU: enough for timers to fire between them.
const PASSES: usize = 8;

fn image() -> Tensor {
    Tensor::new([1, 1, 32, 32], (0..1024).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect()).expect("as many values")
}

async fn logits(model: &Model, passes: usize) -> Vec<f32> {
    let (image, mut session) = (image(), model.session());
    let mut logits = Vec::new();
    for _ in 0..passes {
        logits = session.forward(&image, &["logits"]).await.expect("logits")["logits"].values().into_owned();
    }
    logits
}

async fn model_on(device: Device) -> Model {
    Model::builder(Checkpoint::digits()).device(device).load().await.expect("a model")
}

#[wasm_bindgen_test]
async fn sessions_run_concurrently_and_the_page_stays_responsive() {
    let expected = logits(&model_on(Device::cpu()).await, 1).await;

    let device = Device::open(DeviceChoice::Gpu).await.expect("WebGPU");
    let ticks = Rc::new(Cell::new(0));
    let counter = ticks.clone();
    let interval = Interval::new(1, move || counter.set(counter.get() + 1));
    let model = model_on(device).await;
    let loaded = ticks.get();
    let (first, second) = join!(logits(&model, PASSES), logits(&model, PASSES));
    drop(interval);

    assert!(loaded > 0, "no timer fired while the model was loaded");
    let ran = ticks.get() - loaded;
    assert!(ran >= PASSES / 2, "{ran} timers fired in {PASSES} passes of two sessions");
    assert_eq!(first, second);
    let scale = expected.iter().fold(0.0_f32, |scale, value| scale.max(value.abs()));
    for (got, want) in first.iter().zip(&expected) {
        assert!((got - want).abs() <= 1e-5 * scale, "{first:?} differs from {expected:?}");
    }
}

/// A checkpoint as it lies in the hub, whose files the page has fetched.
#[wasm_bindgen_test]
async fn checkpoints_in_memory_match_the_reference() {
    let files = [
        ("config.json", &include_bytes!("../fixtures/cases/timm_vit_tiny/config.json")[..]),
        ("model.safetensors", include_bytes!("../fixtures/cases/timm_vit_tiny/model.safetensors")),
    ];
    let expected = SafeTensors::deserialize(include_bytes!("../fixtures/cases/timm_vit_tiny/expected.safetensors")).expect("tensors");
    let read = |name: &str| {
        let view = expected.tensor(name).expect("a tensor");
        let values = view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes"))).collect();
        Tensor::new(view.shape(), values).expect("as many values")
    };
    for device in [Device::cpu(), Device::open(DeviceChoice::Gpu).await.expect("WebGPU")] {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), Cursor::new(*bytes)));
        let checkpoint = Checkpoint::builder_from_files("timm_vit_tiny", files).open().expect("a checkpoint");
        let model = Model::builder(checkpoint).device(device).load().await.expect("a model");
        let names = ["tokens", "logits", "attn.0"];
        let outputs = model.session().forward(&read("pixel_values"), &names).await.expect("outputs");
        for name in names {
            let want = read(name);
            let largest = want.values().iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            assert_eq!(outputs[name].shape(), want.shape());
            for (got, want) in outputs[name].values().iter().zip(want.values().iter()) {
                assert!((got - want).abs() <= 1e-5 * largest.max(1.0), "{name}: {got} is not {want}");
            }
        }
    }
}

/// The three smallest cases of each kernel: a browser's compiler of WGSL is stricter than naga, and software takes seconds for the largest ones.
fn smallest_cases() -> impl Iterator<Item = Case> {
    let mut of_kernels: BTreeMap<&str, Vec<Case>> = BTreeMap::new();
    cases::all().into_iter().for_each(|case| of_kernels.entry(case.kernel).or_default().push(case));
    of_kernels.into_values().flat_map(|mut cases| {
        cases.sort_by_key(|case| case.flops);
        cases.truncate(3);
        cases
    })
}

#[wasm_bindgen_test]
async fn kernels_match_brute_force() {
    let device = Device::open(DeviceChoice::Gpu).await.expect("WebGPU");
    let gpu = device.gpu().expect("it is a GPU");
    let capabilities = gpu.summary().capabilities;
    let (mut failures, mut kernels) = (Vec::new(), BTreeMap::new());
    for case in smallest_cases() {
        if !case.needs().met_by(&capabilities) {
            console_log!("SKIPPED: the device does not have what {} needs", case.kernel);
            continue;
        }
        let values = case.values();
        let laid_out = case.laid_out(values.clone(), true);
        let inputs: Vec<&[f32]> = laid_out.iter().map(Vec::as_slice).collect();
        let recording = case.recording(capabilities).expect("a recording");
        let run = async {
            let none = WeightBuffers::upload(gpu, std::iter::empty(), |_| None).await?;
            Plan::compile(gpu.clone(), &recording, &none, &|_, _| ()).await?.run(&inputs).await
        };
        let expected = case.expected(&values);
        *kernels.entry(case.kernel).or_insert(0) += 1;
        match run.await {
            Ok(outputs) => {
                let difference = cases::compare::mismatch(&outputs[0], &expected, &case.output, case.tolerance(&expected));
                failures.extend(difference.map(|difference| format!("{}: {difference}", case.name)));
            }
            Err(error) => failures.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(kernels.len() > 40, "{kernels:?}");
}
