//! Checkpoints that are wrong in ways that the bad set does not have.

use crate::support::path;
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::path::Path;
use vitraux::Checkpoint;

/// A copy of a fixture with its configuration changed by `config`, and tensors' shapes by `shape`.
fn changed(case: &str, config: impl Fn(&mut Value), shape: impl Fn(&str, &mut Vec<usize>)) -> vitraux::Result<Checkpoint> {
    let base = path("tests/fixtures/cases").join(case);
    let bytes = std::fs::read(base.join("model.safetensors")).expect("a checkpoint");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let views = file.iter().map(|(name, view)| {
        let mut sizes = view.shape().to_vec();
        shape(name, &mut sizes);
        (name, TensorView::new(view.dtype(), sizes, view.data()).expect("as many elements"))
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    safetensors::serialize_to_file(views.collect::<Vec<_>>(), None, &folder.path().join("model.safetensors")).expect("a checkpoint");
    let mut root = crate::support::json(&format!("tests/fixtures/cases/{case}/config.json"));
    config(&mut root);
    write(folder.path(), &root);
    Checkpoint::open(folder.path())
}

fn write(folder: &Path, root: &Value) {
    std::fs::write(folder.join("config.json"), root.to_string()).expect("a configuration");
}

fn refused(result: vitraux::Result<Checkpoint>, words: &[&str]) {
    let error = result.expect_err("it is wrong").to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error} does not mention {words:?}");
}

#[test]
fn a_transposed_weight_is_refused() {
    let name = "blocks.0.mlp.fc1.weight";
    let transposed = |tensor: &str, shape: &mut Vec<usize>| {
        if tensor == name {
            shape.reverse();
        }
    };
    refused(changed("timm_vit_tiny", |_| (), transposed), &[name, "[192, 48]", "[48, 192]"]);
}

#[test]
fn a_patch_weight_with_channels_last_is_refused() {
    let channels_last = |tensor: &str, shape: &mut Vec<usize>| {
        if tensor == "patch_embed.proj.weight" {
            shape[1..].rotate_left(1);
        }
    };
    refused(changed("timm_vit_tiny", |_| (), channels_last), &["patch_embed.proj.weight", "[48, 3, 8, 8]", "[48, 8, 8, 3]"]);
}

#[test]
fn sizes_that_would_take_the_memory_are_refused() {
    let huge = |root: &mut Value| {
        root["model_args"]["img_size"] = json!([2048, 2048]);
        root["model_args"]["embed_dim"] = json!(65520);
    };
    refused(changed("timm_vit_tiny", huge, |_, _| ()), &["65537 tokens"]);
}

#[test]
fn options_that_vitraux_does_not_run_are_named() {
    for (key, value) in
        [("qk_norm", json!(true)), ("global_pool", json!("map")), ("class_token", json!(false)), ("norm_layer", json!("rmsnorm")), ("rope", json!(1))]
    {
        refused(changed("timm_vit_tiny", |root| root["model_args"][key] = value.clone(), |_, _| ()), &[key]);
    }
    for (key, value) in [("hidden_act", json!("swish")), ("model_type", json!("swin")), ("architectures", json!(["ViTForMaskedImageModeling"]))] {
        refused(changed("hf_vit_cls", |root| root[key] = value.clone(), |_, _| ()), &[key]);
    }
}

#[test]
fn names_and_nulls_follow_the_libraries() {
    let open = |case: &str, config: &dyn Fn(&mut Value)| changed(case, config, |_, _| ()).unwrap_or_else(|error| panic!("{case}: {error}")).config;
    // timm: -1 classes stand for the default, null arguments for absent ones.
    let config = open("timm_vit_tiny", &|root| {
        root["model_args"]["device"] = Value::Null;
        root["model_args"]["act_layer"] = json!("GELU");
        root["label_names"] = json!(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
    });
    assert_eq!((config.classes, config.labels[9].as_str()), (10, "j"));
    // transformers: classes without names are called LABEL_i.
    let config = open("hf_vit_cls", &|root| {
        root.as_object_mut().expect("an object").remove("id2label");
        root["num_labels"] = json!(6);
        root["architectures"] = json!([]);
    });
    assert_eq!((config.classes, config.labels[5].as_str()), (6, "LABEL_5"));
}

/// timm resamples a position table when the image's grid is another one; `flexivit_*` in a way of its own.
#[test]
fn position_tables_are_resampled_as_timm_does_or_refused() {
    let larger = |root: &mut Value| root["model_args"]["img_size"] = json!([96, 64]);
    let checkpoint = changed("timm_vit_tiny", larger, |_, _| ()).expect("resampled");
    assert_eq!(checkpoint.weights.position.tensor.shape(), [1 + 12 * 8, 48]);
    // A dynamic size: the model runs at that of the pictures, by way of the size that it is built for.
    let dynamic = |root: &mut Value| {
        larger(root);
        root["model_args"]["dynamic_img_size"] = json!(true);
    };
    let checkpoint = changed("timm_vit_tiny", dynamic, |_, _| ()).expect("resampled twice");
    assert_eq!((checkpoint.config.image, checkpoint.weights.position.tensor.shape()), ([64, 64], [1 + 8 * 8, 48].as_slice()));
    let flexible = |root: &mut Value| {
        larger(root);
        root["architecture"] = json!("flexivit_small");
        root["model_args"]["no_embed_class"] = json!(false);
    };
    refused(changed("timm_vit_tiny", flexible, |_, _| ()), &["pos_embed", "[97, 48]"]);
}
