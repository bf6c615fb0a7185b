//! Texts: encoded by the library, classes by words, and search.

use crate::support::cli::{Run, vitraux};
use crate::support::{compare::largest_difference, gpu, json, path};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use vitraux::low_level::checkpoint::open_tensor;
use vitraux::{Checkpoint, Device, Model, Session, Tokenizer, Tokens};

const CLIP: &str = "hf_clip_text_full";
const SIGLIP: &str = "hf_siglip_text_full";
const NAFLEX: &str = "hf_siglip2_naflex";

fn case(name: &str) -> PathBuf {
    path("tests/fixtures/cases").join(name)
}

fn session(name: &str, device: Device) -> Session {
    Model::builder(Checkpoint::open(case(name)).expect("a checkpoint")).device(device).load_blocking().expect("a model").session()
}

fn run(arguments: &[&str], paths: &[&Path]) -> Run {
    vitraux(arguments.iter().map(OsStr::new).chain(paths.iter().map(|path| path.as_os_str())))
}

/// From words to vectors: the reference's, through our tokenizer.
#[test]
fn encoded_texts_match_the_reference() {
    for (name, device) in
        [CLIP, "hf_clip_text_proj", SIGLIP, NAFLEX].into_iter().flat_map(|name| gpu::devices().into_iter().map(move |device| (name, device)))
    {
        let run = &json(&format!("tests/fixtures/cases/{name}/case.json"))["runs"][0];
        let texts: Vec<&str> = run["texts"].as_array().expect("texts").iter().map(|text| text.as_str().expect("a text")).collect();
        let got = session(name, device).encode_text_blocking(&texts).expect("vectors");
        let want = open_tensor(case(name).join("expected.safetensors"), "text_embeds_l2").expect("vectors");
        let difference = f64::from(largest_difference(&got.values(), &want.values()));
        assert!(got.shape() == want.shape() && difference <= run["atol_f32"]["text_embeds_l2"].as_f64().expect("a bound"), "{name}: {difference:e}");
    }
}

#[test]
fn text_tower_alone_encodes_what_the_whole_model_encodes() {
    let tower = Checkpoint::open(case(CLIP)).expect("a checkpoint").into_text_tower().expect("a text tower");
    let mut alone = Model::builder(tower).device(Device::cpu()).load_blocking().expect("a model").session();
    let (texts, mut whole) = (["a cat", ""], session(CLIP, Device::cpu()));
    let [got, want] = [&mut alone, &mut whole].map(|session| session.encode_text_blocking(&texts).expect("vectors"));
    assert_eq!(got.values(), want.values());
    assert!(Checkpoint::digits().into_text_tower().is_none());
}

/// CLIP's probabilities are a distribution over the labels, SigLIP's are those of each label.
#[test]
fn classes_by_words_have_the_scores_of_their_pairs() {
    for name in [CLIP, SIGLIP] {
        let mut session = session(name, Device::cpu());
        let pixels = open_tensor(case(name).join("expected.safetensors"), "pixel_values").expect("pixel values");
        let embeds = session.forward_blocking(&pixels, &["image_embeds"]).expect("vectors").remove("image_embeds").expect("vectors");
        let labels = session.encode_labels_blocking(&["cat", "dog", "fish"], &["{}"]).expect("labels");
        let answers = labels.classify(session.model(), &embeds, 3).expect("classes");
        let texts = session.encode_text_blocking(&["cat", "dog", "fish"]).expect("vectors");
        let tokenizer = Tokenizer::open(case(name)).expect("a tokenizer");
        let tokens = tokenizer.encode(&["cat", "dog", "fish"]).expect("ids");
        assert_eq!(session.encode_tokens_blocking(&tokens).expect("vectors").values(), texts.values());
        let scores = session.model().similarity(&embeds, &texts).expect("scores");
        for (answer, scores) in answers.iter().zip(scores.values().chunks(3)) {
            assert!(answer.top.is_sorted_by(|a, b| a.logit >= b.logit));
            let total: f32 = answer.top.iter().map(|prediction| prediction.probability).sum();
            assert_eq!((total - 1.0).abs() < 1e-5, name == CLIP, "{name}: {total}");
            for prediction in &answer.top {
                assert!((prediction.logit - scores[prediction.index]).abs() < 1e-5);
                let sigmoid = 1.0 / (1.0 + (-prediction.logit).exp());
                assert!(name == CLIP || (prediction.probability - sigmoid).abs() < 1e-6);
            }
        }
        // The same template twice is averaged to itself.
        let twice = session.encode_labels_blocking(&["cat", "dog", "fish"], &["{}", "{}"]).expect("labels");
        let others = twice.classify(session.model(), &embeds, 3).expect("classes");
        assert!(answers.iter().zip(&others).all(|(a, b)| a.top.iter().zip(&b.top).all(|(a, b)| (a.logit - b.logit).abs() < 1e-5)));
    }
}

#[test]
fn unusable_texts_are_errors() {
    let mut session = session(CLIP, Device::cpu());
    let mut of = |ids: Vec<u32>, mask: Option<Vec<bool>>| {
        let tokens = Tokens::new([1, ids.len()], ids, mask).expect("tokens");
        session.forward_text_blocking(&tokens, &["text_embeds"]).unwrap_err().to_string()
    };
    assert!(of(vec![0, 668], None).contains("expected ids below 668, found 668"));
    assert!(of(vec![1; 25], None).contains("expected 1 to 24 tokens, found 25"));
    assert!(of(vec![1, 2], Some(vec![false, true])).contains("no token to attend to"));
    assert!(Tokens::new([2, 2], vec![1; 3], None).is_err() && Tokens::new([0, 2], Vec::new(), None).is_err());
    let ids = Tokens::new([1, 2], vec![0, 668], None).expect("tokens");
    assert!(session.encode_tokens_blocking(&ids).unwrap_err().to_string().contains("expected ids below 668"));
    let templates = session.encode_labels_blocking(&["cat"], &["a photo"]).unwrap_err().to_string();
    assert!(templates.contains("expected {} in place of a label"), "{templates}");
    let none = Model::builder(Checkpoint::digits()).device(Device::cpu()).load_blocking().expect("a model").session().encode_text_blocking(&["a"]);
    assert!(none.unwrap_err().to_string().contains("no text tower"));
    let text =
        Model::builder(Checkpoint::open(case("hf_clip_text_proj")).expect("a checkpoint")).device(Device::cpu()).load_blocking().expect("a model");
    let tokens = vitraux::Tensor::zeros([1, 4, 48]);
    assert!(text.session().forward_blocking(&tokens, &["text_embeds"]).unwrap_err().to_string().contains("forward_text"));
}

#[test]
fn classify_takes_labels_from_the_command_line_and_from_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let (labels, model, image) = (folder.path().join("labels.txt"), case(CLIP), case(CLIP).join("image.png"));
    std::fs::write(&labels, "a cat\n\n a dog \n").expect("labels");
    let common = ["classify", "--device", "cpu", "--format", "json", "--template", "{}", "--labels"];
    let [of_line, of_file] = ["a cat, a dog", labels.to_str().expect("a name")].map(|labels| {
        let answer = run(&[&common[..], &[labels, "--model"]].concat(), &[&model, &image]);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        serde_json::from_str::<serde_json::Value>(&answer.stdout).expect("JSON")["top"].clone()
    });
    assert_eq!(of_line, of_file);
    assert_eq!(of_line.as_array().map(Vec::len), Some(2));
    let refused = run(&["classify", "--labels", "a,b", "--model"], &[&case("hf_vit_cls"), &image]);
    assert!(refused.code != 0 && refused.stderr.contains("has no text tower"), "{}", refused.stderr);
}

#[test]
fn search_ranks_the_images_of_an_index_by_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(case(CLIP).join("image.png"), at("a.png")).expect("a copy");
    std::fs::copy(case(CLIP).join("image2.png"), at("b.png")).expect("a copy");
    let index = at("index.safetensors");
    let made = run(&["similar", "--device", "cpu", "--model"], &[&case(CLIP), Path::new("--index"), &index, &at("a.png"), &at("b.png")]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let search = |more: &[&Path]| run(&["search", "a dog", "--device", "cpu", "--format", "json", "--index"], &[&[index.as_path()], more].concat());
    let (page, copies) = (at("page.html"), at("copies"));
    let found = search(&[Path::new("--html"), &page, Path::new("--copy-to"), &copies]);
    assert_eq!(found.code, 0, "{}", found.stderr);
    let lines: Vec<serde_json::Value> = found.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let similarities: Vec<f64> = lines.iter().map(|line| line["similarity"].as_f64().expect("a number")).collect();
    assert!(lines.len() == 2 && similarities.is_sorted_by(|a, b| a >= b), "{}", found.stdout);
    // The cosines are those of the vectors.
    let mut session = session(CLIP, Device::cpu());
    let text = session.encode_text_blocking(&["a dog"]).expect("a vector");
    let rows = open_tensor(&index, "embeddings").expect("vectors");
    let width = text.len();
    let mut expected: Vec<f64> =
        rows.values().chunks(width).map(|row| row.iter().zip(text.values().iter()).map(|(a, b)| f64::from(a * b)).sum()).collect();
    expected.sort_by(|a: &f64, b| b.total_cmp(a));
    assert!(expected.iter().zip(&similarities).all(|(a, b)| (a - b).abs() < 1e-5), "{expected:?} {similarities:?}");
    assert_eq!(std::fs::read_to_string(&page).expect("a page").matches("<img").count(), 2);
    assert_eq!(std::fs::read_dir(&copies).expect("copies").count(), 2);
    let again = search(&[Path::new("--copy-to"), &copies]);
    assert!(again.code != 0 && again.stderr.contains("File exists"), "{}", again.stderr);
    // Indices come from strangers: an image of one may be anything.
    std::fs::remove_file(at("a.png")).and_then(|()| std::fs::create_dir(at("a.png"))).expect("a folder");
    let (elsewhere, folders) = (at("elsewhere"), search(&[Path::new("--copy-to"), &at("elsewhere")]));
    assert!(folders.code != 0 && folders.stderr.contains("found a folder"), "{}", folders.stderr);
    assert!(elsewhere.read_dir().expect("copies").all(|copy| copy.expect("a copy").metadata().expect("a file").len() > 0));
    let other = search(&[Path::new("--model"), &case(SIGLIP)]);
    assert!(other.code != 0 && other.stderr.contains("it holds features of"), "{}", other.stderr);
    let missing = run(&["search", "a dog", "--index"], &[&at("none.safetensors")]);
    assert!(missing.code != 0 && missing.stderr.contains("vitraux similar"), "{}", missing.stderr);
    let replaced = search(&[Path::new("--html"), &at("a.png")]);
    assert!(replaced.code != 0 && replaced.stderr.contains(".html"), "{}", replaced.stderr);
}

/// The program's outputs have the names of the reference, of both towers.
#[test]
fn forward_takes_images_and_texts_by_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in [CLIP, "hf_clip_text_proj", SIGLIP, NAFLEX] {
        let (expected, output) = (case(name).join("expected.safetensors"), folder.path().join(format!("{name}.safetensors")));
        let done = run(
            &["forward", "--device", "cpu", "--tap", "all", "--model"],
            &[&case(name), Path::new("--input"), &expected, Path::new("--output"), &output],
        );
        assert_eq!(done.code, 0, "{}", done.stderr);
        let run = &json(&format!("tests/fixtures/cases/{name}/case.json"))["runs"][0];
        for (key, bound) in run["atol_f32"].as_object().expect("bounds").iter().filter(|(key, _)| !key.ends_with("_pil")) {
            let [got, want] = [&output, &expected].map(|file| open_tensor(file, key).unwrap_or_else(|error| panic!("{name}: {error}")));
            let difference = f64::from(largest_difference(&got.values(), &want.values()));
            assert!(difference <= bound.as_f64().expect("a bound"), "{name}: {key} is off by {difference:e}");
        }
    }
}
