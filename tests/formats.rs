//! Image formats of optional features, beside what Pillow's plugins read.

use crate::support::path;
use vitraux::Image;

fn file(name: &str) -> std::path::PathBuf {
    path("tests/fixtures/formats").join(name)
}

/// Without loss, each level is the same; with it, decoders round differently. Chroma of half the size is repeated by one, and interpolated by the other.
#[test]
fn jpeg_xl_and_heic_decode_like_pillow() {
    let bounds = [
        ("lossless.jxl", 0, 0.0),
        ("alpha.jxl", 0, 0.0),
        ("grey.jxl", 0, 0.0),
        ("lossy.jxl", 3, 1.0),
        ("full-chroma.heic", 3, 1.0),
        ("photo.heic", 40, 3.0),
    ];
    for (name, largest, mean) in bounds {
        let got = Image::open(file(name)).unwrap_or_else(|error| panic!("{error}"));
        let want = Image::open(file(&format!("{name}.png"))).expect("an image");
        assert_eq!((got.width, got.height, got.channels), (want.width, want.height, want.channels), "{name}");
        assert_eq!(got.alpha, want.alpha, "{name}");
        let off: Vec<u8> = got.data.iter().zip(&want.data).map(|(got, want)| got.abs_diff(*want)).collect();
        let average = off.iter().map(|&off| f64::from(off)).sum::<f64>() / off.len() as f64;
        assert!(off.iter().all(|&off| off <= largest) && average <= mean, "{name} is off by {:?} levels, {average} on average", off.iter().max());
    }
}

#[test]
fn damaged_and_large_files_are_refused() {
    for name in ["lossless.jxl", "photo.heic"] {
        let bytes = std::fs::read(file(name)).expect("a file");
        for end in [20, bytes.len() / 2, bytes.len() - 10] {
            let error = Image::decode(name, &bytes[..end]).map(|_| ()).expect_err("it is truncated").to_string();
            assert!(error.starts_with(name) && error.lines().count() == 1, "{error}");
        }
        // The image takes more than a kilobyte.
        Image::decode_within(name, &bytes, 1 << 10).map(|_| ()).expect_err("a limit");
        for place in (0..bytes.len()).step_by(7) {
            let mut mutated = bytes.clone();
            mutated[place] ^= 0x55;
            // Whatever it gives, it does not panic.
            let _ = Image::decode(name, &mutated);
        }
    }
}
