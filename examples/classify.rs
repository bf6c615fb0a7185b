//! Classifies an image.
//!
//!     cargo run --release --example classify -- IMAGE [MODEL_FOLDER]

use vitraux::{Checkpoint, Image, Model};

fn main() -> vitraux::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let image = Image::open(arguments.next().unwrap_or_else(|| "examples/digits/samples/handwritten-3.png".to_owned()))?;
    let checkpoint = arguments.next().map_or_else(|| Ok(Checkpoint::digits()), Checkpoint::open)?;
    let model = Model::builder(checkpoint).load_blocking()?;
    for classification in model.session().classify_blocking(&image, 5)? {
        for prediction in classification.top {
            println!("{:5.1} %  {}", 100.0 * prediction.probability, prediction.label.unwrap_or_else(|| prediction.index.to_string()));
        }
    }
    Ok(())
}
