//! Where a GPU first differs from the CPU: every tap of a model on a picture, on both, side by side.
//!
//!     cargo run --release --example diverge -- examples/digits/samples/printed-2.png [MODEL_DIR]

use vitraux::model::output_names;
use vitraux::{Checkpoint, DeviceChoice, Engine, Result, preprocess};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(picture) = arguments.next() else {
        eprintln!("usage: diverge PICTURE [MODEL_DIR]");
        std::process::exit(2);
    };
    let checkpoint = arguments.next().map_or_else(|| Ok(Checkpoint::digits()), Checkpoint::open)?;
    let names = output_names(&checkpoint.config);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let preprocess = checkpoint.preprocess.clone().expect("a model that takes pictures");
    let pixel_values = preprocess.apply(&preprocess::open(picture)?)?;

    let mut cpu = Engine::load_blocking(checkpoint.clone(), &DeviceChoice::Cpu)?;
    let mut gpu = Engine::load_blocking(checkpoint, &DeviceChoice::Gpu)?;
    println!("{} beside the CPU", gpu.device());
    let (want, got) = (cpu.forward_blocking(&pixel_values, &names)?, gpu.forward_blocking(&pixel_values, &names)?);

    for name in names {
        let (want, got) = (want[name].values(), got[name].values());
        let largest = want.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let difference = want.iter().zip(got.iter()).map(|(want, got)| (want - got).abs()).fold(0.0, f32::max);
        println!("{name:16} largest value {largest:9.3e}, largest difference {difference:9.3e}");
    }
    Ok(())
}
