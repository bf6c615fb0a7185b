//! Errors that a program recovers from: a lost device, and memory that runs out.

use crate::support::gpu;
use vitraux::host::GpuInput;
use vitraux::{Checkpoint, Device, Error, Model, Tensor};

fn load(device: Device) -> vitraux::Result<Model> {
    Model::builder(Checkpoint::digits()).device(device).load_blocking()
}

fn image() -> Tensor {
    Tensor::zeros([1, 1, 32, 32])
}

#[test]
fn a_lost_device_is_reported_and_another_one_takes_its_place() {
    let Some(own) = gpu::smaller(|_| ()) else { return };
    let device = Device::from(own.clone());
    let model = load(device.clone()).expect("a model");
    let mut session = model.session();
    let expected = session.forward_blocking(&image(), &["logits"]).expect("logits")["logits"].values().into_owned();

    own.wgpu_device().destroy();
    let is_lost = |error: &Error| matches!(error, Error::DeviceLost { device, .. } if *device == own.summary().to_string());
    for _ in 0..2 {
        let error = session.forward_blocking(&image(), &["logits"]).expect_err("the device is lost");
        assert!(is_lost(&error), "{error}");
    }
    let error = pollster::block_on(model.session().forward(&image(), &["logits"])).expect_err("the device is lost");
    assert!(is_lost(&error), "{error}");
    let error = load(device).expect_err("the device is lost");
    assert!(is_lost(&error), "{error}");
    let mut encoder = own.wgpu_device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let error = model.session().encode(&mut encoder, GpuInput::Tensor(&image()), &["logits"]).expect_err("the device is lost");
    assert!(is_lost(&error), "{error}");

    let again = Device::from(gpu::smaller(|_| ()).expect("it opens again"));
    let got = load(again).expect("a model").session().forward_blocking(&image(), &["logits"]).expect("logits")["logits"].values().into_owned();
    assert_eq!(got, expected);
}

/// Whether wgpu keeps within the budget, of which there is nothing.
fn has_budget(device: &wgpu::Device) -> bool {
    let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let _ =
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 1 << 16, usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
    pollster::block_on(scope.pop()).is_some()
}

#[test]
fn memory_that_runs_out_is_reported() {
    let Some(shared) = gpu::device() else { return };
    let memory_budget_thresholds = wgpu::MemoryBudgetThresholds { for_resource_creation: Some(0), for_device_loss: None };
    let descriptor = wgpu::InstanceDescriptor { memory_budget_thresholds, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let adapter = pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::all())).swap_remove(shared.summary().index);
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).expect("a device");
    if !has_budget(&device) {
        println!("SKIPPED on this driver, which tells no memory budget; `tests/cooperative` runs it on one that does");
        return;
    }
    let error = load(Device::from_wgpu(&adapter, device, queue)).expect_err("there is no memory");
    assert!(matches!(&error, Error::OutOfMemory { device, .. } if *device == shared.summary().to_string()), "{error}");
    load(Device::from(shared)).expect("other devices have memory").session().forward_blocking(&image(), &["logits"]).expect("logits");
}
