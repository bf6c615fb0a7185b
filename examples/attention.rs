//! Paints the attention of the class token in the last block over an image.
//!
//!     cargo run --release --example attention -- IMAGE OUTPUT.png [MODEL_FOLDER]

use image::RgbImage;
use vitraux::config::Size;
use vitraux::host::Painting;
use vitraux::{Checkpoint, Image, Model};

/// Opacity of the heat map.
const OPACITY: f32 = 0.6;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "examples/digits/samples/handwritten-3.png".to_owned());
    let output = arguments.next().unwrap_or_else(|| "attention.png".to_owned());
    let checkpoint = arguments.next().map_or_else(|| Ok(Checkpoint::digits()), Checkpoint::open)?;
    let model = Model::builder(checkpoint).load_blocking()?;

    let preprocess = model.preprocess().ok_or("the model takes no images")?;
    let image = Image::open(&file)?;
    let pixel_values = preprocess.apply(&image)?;
    let &[_, _, height, width] = pixel_values.shape() else { unreachable!("pixel_values have four axes") };
    let name = format!("attn.{}.0", model.config().depth - 1);
    let outputs = model.session().forward_blocking(&pixel_values, &[&name])?;
    let map = model.config().map(Size::Image([height, width]), &name).ok_or("attention is a map")?;
    let painted = Painting::default().on_host(&map, &outputs[&name].values(), 1)?;

    // Part of the image that the model sees, in pixels.
    let [left, top, seen_width, seen_height] = preprocess.seen([image.height, image.width])?;
    let mut canvas = RgbImage::new(image.width as u32, image.height as u32);
    for (x, y, pixel) in canvas.enumerate_pixels_mut() {
        let at = [(f64::from(x) + 0.5 - left) / seen_width, (f64::from(y) + 0.5 - top) / seen_height].map(|place| place as f32);
        let colour = painted.at(at);
        let level = &image.data[(y as usize * image.width + x as usize) * image.channels..][..image.channels];
        *pixel = image::Rgb([0, 1, 2].map(|c| (f32::from(level[c.min(image.channels - 1)]) * (1.0 - OPACITY) + 255.0 * colour[c] * OPACITY) as u8));
    }
    canvas.save(&output)?;
    println!("{output}");
    Ok(())
}
