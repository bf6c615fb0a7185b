//! Depth and classes of each pixel, as the program writes them and as hosts paint them.

use crate::support::cli::{Run, vitraux};
use crate::support::compare::largest_difference;
use crate::support::{json, path};
use std::ffi::OsStr;
use std::path::Path;
use vitraux::low_level::checkpoint::open_tensor;
use vitraux::postprocess::{classes_at, depth_at};
use vitraux::{Image, Tensor};

fn case(name: &str) -> std::path::PathBuf {
    path("tests/fixtures/cases").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is UTF-8")
}

fn run(command: &str, name: &str, more: &[&str]) -> Run {
    let folder = case(name);
    let arguments = [command, "--device", "cpu", "--model", text(&folder)];
    vitraux(arguments.iter().chain(more).map(OsStr::new))
}

/// The values of an npy file of two axes.
fn array(file: &Path) -> (String, Vec<f32>) {
    let bytes = std::fs::read(file).expect("a file");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let values = bytes[start..].chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four"))).collect();
    (String::from_utf8_lossy(&bytes[10..start]).into_owned(), values)
}

/// Levels of a PNG with 16 bits, and its text about depth.
fn levels(file: &Path) -> (Vec<f32>, String) {
    let mut reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file).expect("a file"))).read_info().expect("a PNG");
    assert_eq!(reader.output_color_type(), (png::ColorType::Grayscale, png::BitDepth::Sixteen));
    let texts = &reader.info().utf8_text;
    let scale = texts.iter().find(|text| text.keyword == "depth").expect("a scale").get_text().expect("text");
    let mut data = vec![0; reader.output_buffer_size().expect("it fits")];
    reader.next_frame(&mut data).expect("pixels");
    (data.chunks(2).map(|level| f32::from(u16::from_be_bytes([level[0], level[1]]))).collect(), scale)
}

#[test]
fn depth_files_hold_the_reference_at_the_size_of_the_image() {
    for (name, metric) in [("hf_depth_anything", false), ("hf_depth_anything_metric", true), ("hf_dpt_dinov2", false)] {
        let (image, folder) = (case(name).join("image.png"), tempfile::tempdir().expect("a folder"));
        let made = run("depth", name, &["-o", text(folder.path()), "--format", "npy,png,colour", text(&image)]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 3);
        let Image { width, height, .. } = Image::open(&image).expect("an image");
        // The preparation is that of the Pillow backend.
        let expected = open_tensor(case(name).join("expected.safetensors"), "predicted_depth_pil").expect("a tensor");
        let want = depth_at(&expected, [height, width]).expect("a map");
        let (head, got) = array(&folder.path().join("image.depth.npy"));
        assert!(head.contains(&format!("({height}, {width})")), "{head}");
        let tolerance =
            json(&format!("tests/fixtures/cases/{name}/case.json"))["runs"][0]["atol_f32"]["depth_at_picture_size"].as_f64().expect("a bound");
        let difference = f64::from(largest_difference(&got, &want));
        assert!(difference <= tolerance, "{name}: off by {difference:e}, allowed {tolerance:e}");
        let (least, largest) = got.iter().fold((f32::MAX, f32::MIN), |(least, largest), value| (least.min(*value), largest.max(*value)));
        let (levels, scale) = levels(&folder.path().join("image.depth.png"));
        let numbers: Vec<f32> = scale.split([' ', '*']).filter_map(|word| word.parse().ok()).collect();
        let &[start, step] = numbers.as_slice() else { panic!("{scale}") };
        assert_eq!(scale.ends_with(" m"), metric, "{scale}");
        assert!(if metric { (start, step) == (0.0, 1e-3) } else { start == least && (step - (largest - least) / 65535.0).abs() < 1e-9 }, "{scale}");
        let stored: Vec<f32> = levels.iter().map(|level| start + level * step).collect();
        // Bicubic interpolation may overshoot below 0, which is no distance.
        let shown: Vec<f32> = got.iter().map(|value| value.max(start)).collect();
        assert!(largest_difference(&stored, &shown) <= 0.51 * step + 1e-6, "{name}");
        let colours = Image::open(folder.path().join("image.depth.colour.png")).expect("a PNG");
        assert_eq!((colours.width, colours.height, colours.channels), (width, height, 3));
        let (place, _) = got.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("a pixel");
        assert!(colours.data[3 * place..][..3].iter().map(|level| u32::from(*level)).sum::<u32>() > 500, "the largest depth is light");
        // Nothing is done twice, and nobody else's file is taken for ours.
        let again = run("depth", name, &["-o", text(folder.path()), "--format", "npy,png,colour", "--resume", text(&image)]);
        assert!(again.code == 0 && again.stderr.contains("already done"), "{}", again.stderr);
        std::fs::copy(&image, folder.path().join("image.depth.png")).expect("a copy");
        let foreign = run("depth", name, &["-o", text(folder.path()), "--resume", text(&image)]);
        assert!(foreign.code != 0 && foreign.stderr.contains("not from an earlier run"), "{}", foreign.stderr);
    }
}

#[test]
fn single_depth_files_are_what_their_names_say() {
    let (image, folder) = (case("hf_dpt_depth").join("image.png"), tempfile::tempdir().expect("a folder"));
    let [npy, grey, jpg] = ["a.npy", "a.png", "a.jpg"].map(|name| folder.path().join(name));
    assert_eq!(run("depth", "hf_dpt_depth", &["-o", text(&npy), text(&image)]).code, 0);
    assert_eq!(run("depth", "hf_dpt_depth", &["-o", text(&grey), text(&image)]).code, 0);
    assert!(array(&npy).1.len() == levels(&grey).0.len());
    for (file, more, words) in
        [(&jpg, vec![], "a PNG or npy file"), (&npy, vec!["--format", "png"], "differ"), (&grey, vec!["--format", "png,colour"], "more than one map")]
    {
        let refused = run("depth", "hf_dpt_depth", &[&["-o", text(file), text(&image)], more.as_slice()].concat());
        assert!(refused.code != 0 && refused.stderr.contains(words), "{}", refused.stderr);
    }
    let refused = run("depth", "hf_vit_cls", &["-o", text(&grey), text(&image)]);
    assert!(refused.stderr.contains("predicts no depth"), "{}", refused.stderr);
}

#[test]
fn segments_and_areas_are_those_of_the_reference() {
    let name = "hf_dpt_seg";
    let (image, folder) = (case(name).join("image.png"), tempfile::tempdir().expect("a folder"));
    let made = run("segment", name, &["-o", text(folder.path()), "--format", "json", text(&image)]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let file = std::fs::File::open(folder.path().join("image.segment.png")).expect("a file");
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
    assert_eq!(reader.output_color_type(), (png::ColorType::Indexed, png::BitDepth::Eight));
    assert_eq!(reader.info().palette.as_deref().map(|palette| palette[..9].to_vec()), Some(vec![0, 0, 0, 128, 0, 0, 0, 128, 0]));
    let mut classes = vec![0; reader.output_buffer_size().expect("it fits")];
    reader.next_frame(&mut classes).expect("pixels");
    // The reference's pixel values are torchvision's, a level off here and there.
    let want = vitraux::low_level::checkpoint::open_mask(case(name).join("expected.safetensors"), "segmentation").expect("classes");
    let others = classes.iter().zip(want.values().iter()).filter(|(got, want)| f32::from(**got) != **want).count();
    assert!(classes.len() == want.len() && others * 100 <= classes.len(), "{others} of {} pixels are of other classes", classes.len());
    let line: serde_json::Value = serde_json::from_str(&made.stdout).expect("JSON");
    assert_eq!((line["width"].as_u64(), line["height"].as_u64()), (Some(want.shape()[2] as u64), Some(want.shape()[1] as u64)));
    for class in line["classes"].as_array().expect("classes") {
        let index = class["index"].as_u64().expect("a number") as u8;
        let pixels = classes.iter().filter(|class| **class == index).count();
        assert_eq!((class["pixels"].as_u64(), class["label"].as_str()), (Some(pixels as u64), Some(format!("LABEL_{index}").as_str())));
        assert!((class["share"].as_f64().expect("a share") - pixels as f64 / classes.len() as f64).abs() < 1e-12);
    }
    let printed = run("segment", name, &[text(&image)]);
    assert!(printed.code == 0 && printed.stdout.contains("%  LABEL_"), "{}", printed.stdout);
    assert!(run("segment", "hf_dpt_depth", &[text(&image)]).stderr.contains("labels no pixels"));
}

#[test]
fn maps_at_other_sizes_keep_what_is_constant_and_refuse_other_shapes() {
    let flat = Tensor::new([1, 3, 4], vec![2.5; 12]).expect("a map");
    assert!(depth_at(&flat, [7, 9]).expect("a map").iter().all(|value| (value - 2.5).abs() < 1e-6));
    let scores = Tensor::new([2, 1, 2], vec![0.0, 1.0, 1.0, 0.0]).expect("scores");
    // Bilinear: the classes meet in the middle, where the first one counts.
    assert_eq!(classes_at(&scores, [1, 5]).expect("classes"), [1, 1, 0, 0, 0]);
    assert!(depth_at(&scores, [2, 2]).is_err() && depth_at(&flat, [0, 2]).is_err() && classes_at(&flat, [2, 0]).is_err());
}
