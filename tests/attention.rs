//! Heat maps over images, as the program paints them.

use crate::support::cli::{Run, vitraux};
use crate::support::path;
use std::ffi::OsStr;
use std::path::Path;
use vitraux::host::Painting;
use vitraux::{Checkpoint, Device, Image, Model};

fn attention(arguments: &[&str]) -> Run {
    vitraux([&["attention", "--device", "cpu"], arguments].concat().into_iter().map(OsStr::new))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is UTF-8")
}

#[test]
fn head_all_writes_one_map_per_head() {
    let (model, file) = (path("tests/fixtures/cases/timm_vit_tiny"), path("tests/fixtures/pillow/source.png"));
    let folder = tempfile::tempdir().expect("a folder");
    let run = |more: &[&str]| attention(&[&["--model", text(&model), "--output", text(folder.path()), text(&file)], more].concat());
    let all = run(&["--head", "all"]);
    assert_eq!(all.code, 0, "{}", all.stderr);
    let heads = Checkpoint::open(&model).expect("a checkpoint").config().heads;
    let read = |name: String| std::fs::read(folder.path().join(name)).expect("a PNG");
    for head in 0..heads {
        assert_eq!(run(&["--head", &head.to_string()]).code, 0);
        assert_eq!(read("source.attention.png".to_owned()), read(format!("source.attention.head{head}.png")), "head {head}");
    }
    assert_ne!(read("source.attention.head0.png".to_owned()), read("source.attention.head1.png".to_owned()));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), heads + 1);
    // What is there is not painted again, unless a map of it is missing.
    assert!(!run(&["--head", "all", "--resume"]).stderr.contains("device: "));
    std::fs::remove_file(folder.path().join("source.attention.head1.png")).expect("it is removed");
    assert!(run(&["--head", "all", "--resume"]).stderr.contains("device: "));
    for (arguments, words) in [(["--head", "some"], "or all"), (["--head", "99"], "--head: expected 0 to")] {
        assert!(run(&arguments).stderr.contains(words));
    }
}

/// Each pixel that the model sees is the image's and the map's colour mixed; the others are the image's.
#[test]
fn attention_overlay_blends_map_into_seen_pixels() {
    let model = path("tests/fixtures/cases/timm_vit_tiny");
    // Not square: the model crops it.
    let (file, folder) = (path("tests/fixtures/pillow/source.png"), tempfile::tempdir().expect("a folder"));
    let checkpoint = Checkpoint::open(&model).expect("a checkpoint");
    let prepare = checkpoint.preprocess.clone().expect("it takes images");
    let source = Image::open(&file).expect("an image");
    let pixel_values = prepare.apply(&source).expect("pixel values");
    let mut session = Model::builder(checkpoint).device(Device::cpu()).load_blocking().expect("a model").session();
    let size = vitraux::config::Size::Image([pixel_values.shape()[2], pixel_values.shape()[3]]);
    let grid = session.model().config().map(size, "pca").expect("a map").grid;
    let [left, top, width, height] = prepare.seen([source.height, source.width]).expect("a size");
    // The middle of the patch in row 2 and column 5.
    let (x, y) = (left + width * 5.5 / grid[1] as f64, top + height * 2.5 / grid[0] as f64);
    let (query, token) = (format!("{},{}", x as u32, y as u32), 1 + 2 * grid[1] + 5);
    let depth = session.model().config().depth;
    let cases: [(&[&str], &str, String, Painting, f32); 5] = [
        (&[], "attention", format!("attn.{}.0", depth - 1), Painting::default(), 0.6),
        (&["--block", "0", "--head", "1"], "attention", "attn.0.0".to_owned(), Painting::default().head(1), 0.6),
        (&["--query", &query], "attention", format!("attn.{}.{token}", depth - 1), Painting::default(), 0.6),
        (&["--rollout"], "rollout", "rollout.0".to_owned(), Painting::default(), 0.6),
        (&["--pca"], "pca", "pca".to_owned(), Painting::default(), 1.0),
    ];
    for (arguments, shown, output, painting, opacity) in cases {
        let run = attention(&[&["--model", text(&model), "--output", text(folder.path()), text(&file)], arguments].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        let got = Image::open(folder.path().join(format!("source.{shown}.png"))).expect("a PNG");
        assert_eq!((got.width, got.height), (source.width, source.height));
        let outputs = session.forward_blocking(&pixel_values, &[&output]).expect("outputs");
        let map = session.model().config().map(size, &output).expect("a map");
        let painted = painting.on_host(&map, &outputs[&output].values(), 1).expect("it is painted");
        for (i, pixel) in got.data.chunks(3).enumerate() {
            let at = [((i % source.width) as f64 + 0.5 - left) / width, ((i / source.width) as f64 + 0.5 - top) / height];
            let is_seen = at.iter().all(|place| (0.0..1.0).contains(place));
            let above = painted.at(at.map(|place| place as f32));
            for channel in 0..3 {
                let below = f32::from(source.data[i * source.channels + channel.min(source.channels - 1)]);
                let want = if is_seen { below * (1.0 - opacity) + 255.0 * opacity * above[channel] } else { below };
                assert!((f32::from(pixel[channel]) - want).abs() <= 0.51, "{output}, pixel {i}: {pixel:?}, expected {want}");
            }
        }
    }
}

#[test]
fn output_mirrors_folders_and_resume_skips_existing_maps() {
    let (images, output) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let sample = std::fs::read(path("examples/digits/samples/handwritten-3.png")).expect("a sample");
    for name in ["a/one.png", "a/b/two.png", "c/one.png"] {
        let file = images.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, &sample).expect("it is written");
    }
    std::fs::write(images.path().join("c/broken.png"), &sample[..50]).expect("it is written");
    let run = attention(&["--output", text(output.path()), text(images.path())]);
    assert_eq!((run.code, run.errors().len()), (1, 2), "{}", run.stderr);
    let written = ["a/one.attention.png", "a/b/two.attention.png", "c/one.attention.png"].map(|name| output.path().join(name));
    assert!(written.iter().all(|file| file.exists()));
    let first = std::fs::metadata(&written[0]).and_then(|metadata| metadata.modified()).expect("a time");
    std::fs::remove_file(&written[1]).expect("it is there");
    // Maps beside the images are no images, and no image is written over.
    let beside = attention(&["--output", text(&images.path().join("maps")), text(images.path())]);
    let twice = attention(&["--output", text(&images.path().join("maps")), text(images.path())]);
    assert_eq!((beside.errors().len(), twice.errors().len()), (2, 2), "{}", twice.stderr);
    assert!(!images.path().join("maps/maps").exists());
    std::fs::copy(images.path().join("a/one.png"), images.path().join("a/one.attention.png")).expect("a copy");
    let over = attention(&["--output", text(&images.path().join("a")), text(&images.path().join("a"))]);
    assert!(over.code == 1 && over.errors()[0].contains("would overwrite an input or another map"), "{}", over.stderr);
    std::fs::remove_file(images.path().join("a/one.attention.png")).expect("it is there");
    std::fs::remove_dir_all(images.path().join("maps")).expect("it is there");
    let again = attention(&["--resume", "--output", text(output.path()), text(images.path())]);
    assert!(again.code == 1 && again.stderr.contains("2 skipped as already done"), "{}", again.stderr);
    assert_eq!(std::fs::metadata(&written[0]).and_then(|metadata| metadata.modified()).expect("a time"), first);
    assert!(written[1].exists());
    // Maps of other options, and other files, are neither skipped nor overwritten. An empty file is what a full disk leaves.
    let resumed =
        |arguments: &[&str]| attention(&[&["--resume", "--output", text(output.path()), text(&images.path().join("a"))], arguments].concat());
    std::fs::create_dir(output.path().join("b")).expect("a folder");
    std::fs::copy(&written[1], output.path().join("b/two.attention.png")).expect("a copy");
    let other = resumed(&["--block", "1"]);
    assert!(other.code == 1 && other.errors()[0].contains("not from an earlier run with this model and these options"), "{}", other.stderr);
    assert_eq!(resumed(&[]).code, 0);
    std::fs::write(output.path().join("b/two.attention.png"), "").expect("it is written");
    assert_eq!(resumed(&[]).code, 0);
    assert!(std::fs::metadata(output.path().join("b/two.attention.png")).is_ok_and(|metadata| metadata.len() > 100));
    std::fs::write(output.path().join("b/two.attention.png"), "precious").expect("it is written");
    assert_eq!((resumed(&[]).code, std::fs::read(output.path().join("b/two.attention.png")).expect("it is there").as_slice()), (1, &b"precious"[..]));
}

#[test]
fn invalid_attention_requests_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = path("examples/digits/samples/handwritten-3.png");
    let refused = |arguments: &[&str], words: &str| {
        let run = attention(&[&["--output", text(folder.path()), text(&sample)], arguments].concat());
        assert_eq!((run.code, run.errors().len()), (1, 1), "{}", run.stderr);
        assert!(run.errors()[0].contains(words), "{}", run.stderr);
    };
    refused(&["--block", "4"], "--block: expected 0 to 3, found 4");
    refused(&["--head", "9"], "--head: expected 0 to 3");
    refused(
        &["--query", "1000,2"],
        "--query 1000,2: outside the part of the 96 x 96 pixels that the model sees; choose a column from 0 to 95 and a row from 0 to 95",
    );
    // Registers in front of the patches are no class token.
    for unclassed in ["timm_gap_nocls_noqkvbias", "timm_map_registers"] {
        refused(&["--model", text(&path("tests/fixtures/cases").join(unclassed))], "has no class token");
    }
    assert_eq!(attention(&["--output", text(folder.path()), "--query", "12", text(&sample)]).code, 2);
    assert_eq!(attention(&["--output", text(folder.path()), "--pca", "--rollout", text(&sample)]).code, 2);
    assert_eq!(attention(&[text(&sample)]).code, 2);
}
