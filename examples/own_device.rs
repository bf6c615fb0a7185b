//! Minimal program that owns a wgpu device and runs vitraux as one more pass.
//!
//!     cargo run --release --example own_device

use vitraux::host::{GpuInput, required_features, required_limits};
use vitraux::{Checkpoint, Device, Model, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pollster::block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    // A graphics program has all of this already, except for the features and limits of vitraux.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let descriptor = wgpu::DeviceDescriptor {
        required_features: required_features(&adapter),
        required_limits: wgpu::Limits::default().or_better_values_from(&required_limits(&adapter)),
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await?;

    // Load a model on that device. Nothing is submitted yet: the weights go along with the first submission.
    let lent = Device::from_wgpu(&adapter, device.clone(), queue.clone());
    let mut session = Model::builder(Checkpoint::digits()).device(lent).load().await?.session();

    // In a frame, the forward pass is recorded among the program's own commands, and its outputs stay on the device.
    let image = Tensor::new([1, 1, 32, 32], (0..1024).map(|i| stroke(i % 32, i / 32)).collect())?;
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let outputs = session.encode(&mut encoder, GpuInput::Tensor(&image), &["probabilities"])?;
    // outputs["probabilities"].buffer() could be bound in a later pass. Here, it is read back.
    let readback = outputs["probabilities"].encode_read(&mut encoder);
    queue.submit([encoder.finish()]);

    // Reading is asynchronous, and polling is up to the program.
    let reader = std::thread::spawn(move || pollster::block_on(readback.values()));
    while !reader.is_finished() {
        device.poll(wgpu::PollType::wait_indefinitely())?;
    }
    let probabilities = reader.join().expect("it does not panic")?;
    for (digit, probability) in probabilities.values().iter().enumerate() {
        println!("{digit} {:5.1} %", 100.0 * probability);
    }
    Ok(())
}

/// Returns a pixel of a white 1 on black, from -1 to 1 as the model expects.
fn stroke(x: usize, y: usize) -> f32 {
    if (14..18).contains(&x) && (5..27).contains(&y) { 1.0 } else { -1.0 }
}
