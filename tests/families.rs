//! The table of families against what is read: docs/models.md has it, and every fixture and every name belongs to a row.

use crate::support::{cli::vitraux, json, path};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use vitraux::low_level::checkpoint::FAMILIES;
use vitraux::{Checkpoint, Model, Tensor};

/// Whether a pattern, in which `*` stands for anything, fits a name.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => {
            name.strip_prefix(start).is_some_and(|name| (0..=name.len()).any(|end| name.is_char_boundary(end) && fits(rest, &name[end..])))
        }
    }
}

/// The family of a timm architecture.
fn of_timm(name: &str) -> Option<&'static str> {
    FAMILIES.iter().find(|family| family.timm.iter().any(|pattern| fits(pattern, name))).map(|family| family.name)
}

/// The family of a transformers class.
fn of_transformers(class: &str) -> Option<&'static str> {
    FAMILIES.iter().find(|family| family.transformers.contains(&class)).map(|family| family.name)
}

#[test]
fn documentation_contains_the_families_table() {
    let table = vitraux(["families"].map(OsStr::new));
    assert_eq!(table.code, 0, "{}", table.stderr);
    let documentation = std::fs::read_to_string(path("docs/models.md")).expect("the list of models");
    assert!(documentation.contains(&table.stdout), "docs/models.md does not have what `vitraux families` prints:\n{}", table.stdout);
    let list: serde_json::Value = serde_json::from_str(&vitraux(["families", "--format", "json"].map(OsStr::new)).stdout).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(FAMILIES.len()));
}

/// Each row but the last two, which have no names, is met by a fixture; each fixture's outputs are compared in `golden.rs`.
#[test]
fn every_family_has_a_fixture() {
    let mut met = BTreeSet::new();
    for entry in std::fs::read_dir(path("tests/fixtures/cases")).expect("fixtures") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if !path(&format!("tests/fixtures/cases/{name}/config.json")).exists() {
            if name.starts_with("jax_") {
                met.insert("Google's original ViT and R+ViT");
            }
            continue;
        }
        let config = json(&format!("tests/fixtures/cases/{name}/config.json"));
        let family = match (config["architecture"].as_str(), config["architectures"][0].as_str()) {
            (Some(architecture), _) => of_timm(architecture),
            (None, Some(class)) => of_transformers(class),
            (None, None) => Some("Transformer encoder (torch.nn.TransformerEncoder)"),
        };
        met.insert(family.unwrap_or_else(|| panic!("{name} belongs to no family")));
    }
    let all: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(met, all);
}

/// The examples are of their families, and timm's are names that are run.
#[test]
fn examples_belong_to_their_listed_families() {
    for family in FAMILIES {
        assert!(!family.examples.is_empty());
        for architecture in family.examples.iter().filter_map(|example| example.strip_prefix("timm/")) {
            let architecture = architecture.split('.').next().expect("a name");
            assert_eq!(of_timm(architecture), Some(family.name), "{architecture}");
            if !architecture.contains("giant") && !architecture.contains("so400m") {
                assert!(Checkpoint::random(architecture).is_ok(), "{architecture}");
            }
        }
    }
}

/// What a reader accepts as a class, it names when it refuses another; all of them are in the table.
#[test]
fn families_table_lists_every_supported_class() {
    let mut read = BTreeSet::new();
    for case in [
        "hf_vit_cls",
        "hf_deit_teacher",
        "hf_vit_mae",
        "hf_dinov2_cls",
        "hf_dinov2_registers",
        "hf_dinov3_vit",
        "hf_clip_vision_proj",
        "hf_siglip_vision",
        "hf4_vit_hybrid",
        "hf_dpt_depth",
        "hf_depth_anything",
        "hf_beit_cls",
        "hf_aimv2_vision",
        "hf_siglip2_naflex",
        "hf_clip_text_proj",
        "hf_tipsv2",
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = json(&format!("tests/fixtures/cases/{case}/config.json"));
        config["architectures"] = serde_json::json!(["NoSuchClass"]);
        std::fs::write(folder.path().join("config.json"), config.to_string()).expect("a configuration");
        std::fs::copy(path(&format!("tests/fixtures/cases/{case}/model.safetensors")), folder.path().join("model.safetensors")).expect("a copy");
        let error = Checkpoint::open(folder.path()).expect_err("no such class").to_string();
        let (_, classes) = error.split_once("supported: ").unwrap_or_else(|| panic!("{error}"));
        let (classes, _) = classes.split_once(';').unwrap_or_else(|| panic!("{error}"));
        read.extend(classes.split(", ").map(str::to_owned));
    }
    let listed: BTreeSet<String> = FAMILIES.iter().flat_map(|family| family.transformers).map(|&class| class.to_owned()).collect();
    let others = ["ViTMSNModel", "ViTMSNForImageClassification", "IJepaModel", "IJepaForImageClassification", "SiglipTextModel", "Siglip2TextModel"];
    let others = others.map(str::to_owned);
    assert_eq!(read.into_iter().chain(others).collect::<BTreeSet<_>>(), listed);
}

/// Classes that an image may have several of, and quantities, as transformers' pipelines score them.
#[test]
fn probabilities_follow_the_type_of_the_problem() {
    let case = "tests/fixtures/cases/hf_vit_cls";
    for (kind, of_logit) in [
        ("single_label_classification", None),
        ("multi_label_classification", Some((|logit: f32| 1.0 / (1.0 + (-logit).exp())) as fn(f32) -> f32)),
        ("regression", None),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = json(&format!("{case}/config.json"));
        config["problem_type"] = kind.into();
        std::fs::write(folder.path().join("config.json"), config.to_string()).expect("a configuration");
        std::fs::copy(path(&format!("{case}/model.safetensors")), folder.path().join("model.safetensors")).expect("a copy");
        for device in crate::support::gpu::devices() {
            let checkpoint = Checkpoint::open(folder.path()).expect("a checkpoint");
            let mut session = Model::builder(checkpoint).device(device).load_blocking().expect("a model").session();
            let input =
                Tensor::new([1, 3, 48, 48], (0..3 * 48 * 48).map(|i| ((i * 7) % 13) as f32 / 6.0 - 1.0).collect::<Vec<f32>>()).expect("an image");
            if kind == "regression" {
                assert!(session.forward_blocking(&input, &["logits"]).is_ok() && session.model().config().default_classifiers().is_empty());
                assert!(session.forward_blocking(&input, &["probabilities"]).is_err());
                continue;
            }
            let outputs = session.forward_blocking(&input, &["logits", "probabilities"]).expect("outputs");
            let (logits, probabilities) = (outputs["logits"].values(), outputs["probabilities"].values());
            let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
            for (logit, got) in logits.iter().zip(probabilities.iter()) {
                let want = of_logit.map_or_else(|| logit.exp() / sum, |of| of(*logit));
                assert!((want - got).abs() < 1e-6, "{kind}: {logit} gives {got}, not {want}");
            }
        }
    }
}
