//! A frame loop on a device of the program's own: how long slices of a forward pass take beside their budget, and whether memory grows.
//!
//!     cargo bench --bench frames -- vit_tiny_patch16_224

use std::time::Instant;
use vitraux::host::GpuInput;
use vitraux::low_level::gpu::{Budget, required_features, required_limits};
use vitraux::{Checkpoint, Device, Model, Tensor};

/// Microseconds.
const BUDGETS: [u32; 6] = [500, 1000, 2000, 4000, 8000, 16_000];

/// Forward passes whose memory is looked at.
const PASSES: usize = 1000;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    pollster::block_on(run(std::env::args().skip(1).find(|argument| !argument.starts_with('-'))))
}

async fn run(architecture: Option<String>) -> Result<()> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let descriptor = wgpu::DeviceDescriptor {
        required_features: required_features(&adapter),
        required_limits: wgpu::Limits::default().or_better_values_from(&required_limits(&adapter)),
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await?;
    let lent = Device::from_wgpu(&adapter, device.clone(), queue.clone());
    let checkpoint = match &architecture {
        Some(architecture) => Checkpoint::random(architecture)?,
        None => Checkpoint::digits(),
    };
    let mut session = Model::builder(checkpoint).device(lent.clone()).load().await?.session();
    let patches = session.model().config().patches().ok_or("the model takes no images")?;
    let input = Tensor::zeros([1, patches.channels, patches.image[0], patches.image[1]]);
    println!("{}, {}, f32, batch 1; slices by the clock, from submission to done", architecture.as_deref().unwrap_or("the digits' model"), lent);

    let mut dispatches: Vec<f64> = session.profile_blocking(&input, &["logits"])?.iter().map(|timing| timing.seconds * 1e6).collect();
    let sum: f64 = dispatches.iter().sum();
    dispatches.sort_by(f64::total_cmp);
    let longest = dispatches.last().copied().unwrap_or_default();
    println!("{} kernel calls, {sum:.0} us, the longest {longest:.0} us", dispatches.len());

    let row = format!("attn.{}.0", session.model().config().depth - 1);
    let with_row = session.profile_blocking(&input, &["logits", &row])?;
    let of_row = with_row.iter().filter(|timing| timing.label.ends_with(".probabilities")).map(|timing| timing.seconds * 1e6).sum::<f64>();
    println!("the class token's attention, {row}, takes {of_row:.0} us more");

    println!("  budget  slices  median     p95     max   share of slices over the budget, and over it by more than the longest call");
    for budget in BUDGETS {
        let mut slices = Vec::new();
        let passes = (200_000.0 / sum).clamp(10.0, 200.0) as usize;
        for _ in 0..passes {
            let mut job = session.start(GpuInput::Tensor(&input), &["logits"])?;
            let mut is_whole = false;
            while !is_whole {
                let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                is_whole = job.encode_slice(&mut encoder, Budget::microseconds(budget));
                let commands = encoder.finish();
                let start = Instant::now();
                queue.submit([commands]);
                device.poll(wgpu::PollType::wait_indefinitely())?;
                slices.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
        slices.sort_by(f64::total_cmp);
        let at = |share: f64| slices[((slices.len() - 1) as f64 * share) as usize];
        let over = |limit: f64| 100.0 * slices.iter().filter(|slice| **slice > limit).count() as f64 / slices.len() as f64;
        let each = slices.len() as f64 / passes as f64;
        let (budget, limit) = (f64::from(budget), f64::from(budget) + longest);
        println!("{budget:>8.0}{each:>8.0}{:>8.0}{:>8.0}{:>8.0}   {:.1} %, {:.1} %", at(0.5), at(0.95), at(1.0), over(budget), over(limit));
    }

    let mut before = (0, 0);
    for pass in 0..PASSES {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        session.encode(&mut encoder, GpuInput::Tensor(&input), &["logits"])?;
        queue.submit([encoder.finish()]);
        device.poll(wgpu::PollType::wait_indefinitely())?;
        if pass == 9 {
            before = memory(&lent);
        }
    }
    let after = memory(&lent);
    println!(
        "after 10 and after {PASSES} passes: {} and {} bytes in the device's buffers, {} and {} KiB resident",
        before.0, after.0, before.1, after.1
    );
    Ok(())
}

/// Bytes of the device's buffers, and KiB that the process takes, where the system says so (Linux).
fn memory(device: &Device) -> (isize, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    (device.gpu().map_or(0, |gpu| gpu.buffer_counts().1), resident.unwrap_or(0))
}
