//! Patch features of an image from three blocks, as grids `[height, width, C]`: the features that dense heads are trained on.
//!
//!     cargo run --release --example features -- IMAGE [MODEL_FOLDER]

use vitraux::config::Size;
use vitraux::{Checkpoint, Image, Model};

fn main() -> vitraux::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let image = Image::open(arguments.next().unwrap_or_else(|| "examples/digits/samples/handwritten-3.png".to_owned()))?;
    let checkpoint = arguments.next().map_or_else(|| Ok(Checkpoint::digits()), Checkpoint::open)?;
    let model = Model::builder(checkpoint).load_blocking()?;
    let pixel_values = model.preprocess().expect("a model of images").apply(&image)?;
    let &[_, _, height, width] = pixel_values.shape() else { unreachable!("pixel_values have four axes") };

    let depth = model.config().depth;
    let names = [depth / 3, 2 * depth / 3, depth - 1].map(|block| format!("hidden.{block}"));
    let outputs = model.session().forward_blocking(&pixel_values, &names.each_ref().map(String::as_str))?;
    let grid = model.config().map(Size::Image([height, width]), "pca").expect("patches have a grid").grid;
    for name in &names {
        // Class token and registers come first.
        let (values, channels, prefix) = (outputs[name].values(), model.config().width, model.config().prefix_tokens);
        let patches = &values[prefix * channels..];
        let norm = |patch: &[f32]| patch.iter().map(|value| value * value).sum::<f32>().sqrt();
        println!("{name}: {} x {} x {channels}", grid[0], grid[1]);
        for row in patches.chunks(grid[1] * channels) {
            println!("  {}", row.chunks(channels).map(|patch| format!("{:6.1}", norm(patch))).collect::<String>());
        }
    }
    Ok(())
}
