//! vitraux as a peer that waits for work, as `worker.py` does: `peer DEVICE FOLDER`.

use std::io::Write;
use std::time::Instant;
use vitraux::{Checkpoint, Device, DeviceChoice, Model, Tensor};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn floats(path: String) -> Result<Vec<f32>> {
    Ok(std::fs::read(path)?.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, folder] = arguments.as_slice() else { return Err("usage: peer DEVICE FOLDER".into()) };
    let (inputs, expected) = (floats(format!("{folder}/input.bin"))?, floats(format!("{folder}/logits.bin"))?);
    let choice: DeviceChoice = device.parse()?;
    let mut session = Model::builder(Checkpoint::open(folder)?).device(Device::open_blocking(choice)?).load_blocking()?.session();
    println!("ready vitraux {}", env!("CARGO_PKG_VERSION"));
    for line in std::io::stdin().lines() {
        let batch: usize = line?.trim().parse()?;
        let values = inputs.iter().copied().cycle().take(batch * 3 * 224 * 224).collect();
        let pixel_values = Tensor::new([batch, 3, 224, 224], values)?;
        let start = Instant::now();
        let outputs = session.forward_blocking(&pixel_values, &["logits"])?;
        let elapsed = start.elapsed().as_secs_f64();
        let difference = outputs["logits"].values().iter().zip(expected.iter().cycle()).fold(0.0, |worst: f32, (a, b)| worst.max((a - b).abs()));
        println!("answer {} {difference}", elapsed * 1e3);
        std::io::stdout().flush()?;
    }
    Ok(())
}
