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

/// A TIFF of one strip with 2 x 1 pixels. `tags` are sorted, each with the size of its values in bytes: 2 or 4.
fn tiff(is_big: bool, data: &[u8], tags: &[(u16, u16, &[u32])]) -> Vec<u8> {
    let word = |value: u64| if is_big { value.to_le_bytes().to_vec() } else { (value as u32).to_le_bytes().to_vec() };
    let (place, count) = if is_big { (16, tags.len() + 2) } else { (8, tags.len() + 2) };
    let entry_size = if is_big { 20 } else { 12 };
    let directory = place + data.len().next_multiple_of(4) as u64;
    let mut beside = directory + (if is_big { 8 } else { 2 }) + (entry_size * count) as u64 + word(0).len() as u64;
    let (strip, len) = ([place as u32], [data.len() as u32]);
    let mut all: Vec<(u16, u16, &[u32])> = [tags, &[(273, 4, &strip), (279, 4, &len)]].concat();
    all.sort_by_key(|(tag, ..)| *tag);
    let (mut entries, mut extra) = (Vec::new(), Vec::new());
    for (tag, size, values) in all {
        let mut raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()[..size.into()].to_vec()).collect();
        if raw.len() > word(0).len() {
            let from = beside;
            beside += raw.len() as u64;
            extra.extend(std::mem::replace(&mut raw, word(from)));
        }
        raw.resize(word(0).len(), 0);
        entries.extend([tag.to_le_bytes(), if size == 2 { 3u16 } else { 4 }.to_le_bytes()].concat());
        entries.extend(word(values.len() as u64));
        entries.extend(raw);
    }
    let start = if is_big { [&b"II\x2B\0\x08\0\0\0"[..], &word(directory)].concat() } else { [&b"II\x2A\0"[..], &word(directory)].concat() };
    let number = if is_big { (count as u64).to_le_bytes().to_vec() } else { (count as u16).to_le_bytes().to_vec() };
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(4), 0);
    [start, data, number, entries, word(0), extra].concat()
}

#[test]
fn tiff_levels_are_read_as_they_are_meant_or_refused() {
    let sizes: [(u16, u16, &[u32]); 5] = [(256, 4, &[2]), (257, 4, &[1]), (259, 2, &[1]), (262, 2, &[2]), (278, 4, &[1])];
    let of = |is_big: bool, bits: &[u32], data: &[u8], more: &[(u16, u16, &[u32])]| {
        let samples = [bits.len() as u32];
        Image::decode("a.tiff", &tiff(is_big, data, &[&sizes[..], &[(258, 2, bits), (277, 2, &samples)], more].concat()))
    };
    let rgb = [9, 99, 199, 1, 2, 3];
    for is_big in [false, true] {
        assert_eq!(of(is_big, &[8; 3], &rgb, &[]).expect("an image").data, rgb);
    }
    let refused =
        |image: vitraux::Result<Image>, words: &str| assert!(image.as_ref().is_err_and(|error| error.to_string().contains(words)), "{image:?}");
    refused(of(false, &[8; 3], &rgb, &[(266, 2, &[2])]), "FillOrder");
    refused(of(false, &[32; 3], &[77; 24], &[]), "integers of 32 bits");
    assert_eq!(of(false, &[32; 3], &1f32.to_le_bytes().repeat(6), &[(339, 2, &[3; 3])]).expect("an image").data, [255; 6]);
    // Opacity of a half, and of nothing: as Pillow's `RGBa` becomes `RGBA`.
    let rgba = [10, 100, 128, 128, 7, 7, 7, 0];
    let straight = of(false, &[8; 4], &rgba, &[(338, 2, &[2])]).expect("an image");
    let multiplied = of(false, &[8; 4], &rgba, &[(338, 2, &[1])]).expect("an image");
    assert_eq!((straight.data, &straight.alpha), (vec![10, 100, 128, 7, 7, 7], &Some(vec![128, 0])));
    assert_eq!((multiplied.data, multiplied.alpha), (vec![19, 199, 255, 7, 7, 7], straight.alpha));
}
