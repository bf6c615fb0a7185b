//! A lost device, which a program recovers from.

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
fn lost_device_is_reported_and_can_be_replaced() {
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
