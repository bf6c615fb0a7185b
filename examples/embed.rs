//! Embeds the images of a folder, on threads that share one model, and prints each with its most similar image.
//!
//!     cargo run --release --example embed -- FOLDER [MODEL_FOLDER]

use std::path::PathBuf;
use vitraux::{Checkpoint, Image, Model, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "examples/digits/samples".to_owned());
    let checkpoint = arguments.next().map_or_else(|| Ok(Checkpoint::digits()), Checkpoint::open)?;
    let entries = std::fs::read_dir(&folder).map_err(|source| vitraux::Error::Io { path: folder.into(), source })?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();

    let model = Model::builder(checkpoint).load_blocking()?;
    // The weights are loaded once; each thread has a session, which holds only buffers.
    let embeddings: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = files.chunks(files.len().div_ceil(4).max(1)).map(|files| scope.spawn(|| embed(&model, files))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?
    .concat();

    for (i, file) in files.iter().enumerate() {
        let cosine = |other: usize| embeddings[i].iter().zip(&embeddings[other]).map(|(a, b)| a * b).sum::<f32>();
        let others = (0..files.len()).filter(|other| *other != i);
        if let Some(nearest) = others.max_by(|a, b| cosine(*a).total_cmp(&cosine(*b))) {
            println!("{}  {:.3}  {}", file.display(), cosine(nearest), files[nearest].display());
        }
    }
    Ok(())
}

/// Returns the features `[C]` of each image, scaled to unit length.
fn embed(model: &Model, files: &[PathBuf]) -> Result<Vec<Vec<f32>>> {
    let preprocess = model.preprocess().expect("a model of images");
    let mut session = model.session();
    let embed = |file| {
        let outputs = session.forward_blocking(&preprocess.apply(&Image::open(file)?)?, &["features"])?;
        let features = outputs["features"].values();
        let length = features.iter().map(|value| value * value).sum::<f32>().sqrt();
        Ok(features.iter().map(|value| value / length).collect())
    };
    files.iter().map(embed).collect()
}
