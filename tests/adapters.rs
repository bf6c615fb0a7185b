//! LoRA adapters: the results that peft gives, and what it does with less common options.

use crate::support::cli::vitraux;
use crate::support::compare::largest_difference;
use crate::support::torch::{self, Pickle, container};
use crate::support::{json, path};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use vitraux::low_level::checkpoint::open_tensor;
use vitraux::{Checkpoint, Device, Model};

const CASE: &str = "tests/fixtures/adapters/hf_vit_lora";

const QUERY: &str = "base_model.model.vit.encoder.layer.0.attention.attention.query";

fn case(file: &str) -> PathBuf {
    path(CASE).join(file)
}

/// Tensors of f32 by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors(file: &Path) -> Tensors {
    let bytes = std::fs::read(file).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data())))).collect()
}

fn write(tensors: &Tensors, file: &Path) {
    let view = |(name, (shape, values)): (&_, &(Vec<usize>, Vec<f32>))| {
        (String::clone(name), shape.clone(), bytemuck::cast_slice::<f32, u8>(values).to_vec())
    };
    let owned: Vec<_> = tensors.iter().map(view).collect();
    let views = owned.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor")));
    safetensors::serialize_to_file(views, None, file).expect("it is written");
}

/// The adapter of the case with other options and tensors.
fn changed(config: Value, change: impl Fn(&mut Tensors)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut root = json(&format!("{CASE}/adapter/adapter_config.json"));
    root.as_object_mut().expect("an object").extend(config.as_object().expect("an object").clone());
    std::fs::write(folder.path().join("adapter_config.json"), root.to_string()).expect("it is written");
    let mut tensors = tensors(&case("adapter/adapter_model.safetensors"));
    change(&mut tensors);
    write(&tensors, &folder.path().join("adapter_model.safetensors"));
    folder
}

fn open(adapter: &Path) -> vitraux::Result<Checkpoint> {
    Checkpoint::builder(path(CASE)).adapter(adapter).open()
}

/// Returns the values of a weight whose name starts with `name`.
fn weight(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let weights = checkpoint.numbered_weights();
    weights.iter().find(|weight| weight.name.starts_with(name)).expect("a weight").tensor.values().into_owned()
}

/// Compares all outputs with the expected ones; `logits` with those of another name.
fn check(checkpoint: Checkpoint, logits: &str, outputs: &[&str]) {
    let run = &json(&format!("{CASE}/case.json"))["runs"][0];
    let expected = case("expected.safetensors");
    let mut session = Model::builder(checkpoint).device(Device::cpu()).load_blocking().expect("a model").session();
    let found = session.forward_blocking(&open_tensor(&expected, "pixel_values").expect("pixels"), outputs).expect("outputs");
    for &output in outputs {
        let name = if output == "logits" { logits } else { output };
        let difference = largest_difference(&found[output].values(), &open_tensor(&expected, name).expect("a tensor").values());
        assert!(f64::from(difference) <= run["atol_f32"][name].as_f64().expect("a tolerance"), "{name} is off by {difference}");
    }
}

const OUTPUTS: [&str; 6] = ["embeddings", "hidden.0", "hidden.1", "tokens", "features", "logits"];

#[test]
fn merged_models_match_reference_outputs_under_old_and_new_names() {
    for adapter in ["adapter", "adapter_new_names"] {
        check(open(&case(adapter)).expect("a checkpoint"), "logits", &OUTPUTS);
    }
    check(Checkpoint::open(path(CASE)).expect("a checkpoint"), "logits_base", &["logits"]);
}

/// A pickle holds the same tensors.
#[test]
fn adapters_of_pytorch_are_read() {
    let folder = changed(json!({}), |_| {});
    let adapter = tensors(&folder.path().join("adapter_model.safetensors"));
    std::fs::remove_file(folder.path().join("adapter_model.safetensors")).expect("it is removed");
    let named: Vec<_> = adapter.iter().map(|(name, (shape, _))| (name.as_str(), torch::Tensor::whole(name, shape))).collect();
    let storages: Vec<_> = adapter.iter().map(|(name, (_, values))| (name.as_str(), bytemuck::cast_slice(values))).collect();
    std::fs::write(folder.path().join("adapter_model.bin"), container(&Pickle::new().state_dict(&named), &storages)).expect("it is written");
    check(open(folder.path()).expect("a checkpoint"), "logits", &OUTPUTS);
}

/// An encoder without a classifier, as most adapters are trained on; the adapter brings the classifier.
#[test]
fn encoders_get_the_classifier_of_their_adapter() {
    let base = tensors(&case("model.safetensors"));
    let is_head = |name: &str| name.starts_with("classifier.");
    let encoder = base.iter().filter(|(name, _)| !is_head(name)).map(|(name, tensor)| (name.replace("vit.", ""), tensor.clone()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(&encoder.collect(), &folder.path().join("model.safetensors"));
    let mut config = json(&format!("{CASE}/config.json"));
    config["architectures"] = json!(["ViTModel"]);
    config.as_object_mut().expect("an object").remove("id2label");
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("it is written");
    std::fs::copy(case("preprocessor_config.json"), folder.path().join("preprocessor_config.json")).expect("a copy");
    let adapter = changed(json!({"modules_to_save": ["classifier"]}), |adapter| {
        let head = base.iter().filter(|(name, _)| is_head(name));
        adapter.extend(head.map(|(name, tensor)| (format!("base_model.model.{name}"), tensor.clone())));
    });
    check(Checkpoint::builder(folder.path()).adapter(adapter.path()).open().expect("a checkpoint"), "logits", &["logits"]);
}

/// The update is scaled as peft does it, computed in f64 and rounded once.
#[test]
fn options_scale_the_update() {
    let name = "vit.encoder.layer.0.attention.attention.query";
    let base = weight(&Checkpoint::open(path(CASE)).expect("a checkpoint"), name);
    let adapter = tensors(&case("adapter/adapter_model.safetensors"));
    let [(_, down), (_, up)] = ["A", "B"].map(|factor| &adapter[&format!("{QUERY}.lora_{factor}.weight")]);
    for (options, scale) in [
        (json!({}), 2.0),
        (json!({"lora_alpha": 1.5}), 0.375),
        (json!({"use_rslora": true}), 4.0),
        (json!({"fan_in_fan_out": true}), 2.0),
        (json!({"alpha_pattern": {"layer.0.attention.attention.query": 12}}), 3.0),
        (json!({"alpha_pattern": {"layer.1.attention.attention.query": 12}}), 2.0),
        (json!({"r": 16, "rank_pattern": {"^vit.encoder.layer.0.attention.attention.query": 4, "query": 4, "value": 4}}), 2.0),
    ] {
        let merged = weight(&open(changed(options.clone(), |_| {}).path()).expect("a checkpoint"), name);
        for (i, value) in merged[..32 * 32].iter().enumerate() {
            let sum: f64 = (0..4).map(|k| f64::from(up[i / 32 * 4 + k]) * f64::from(down[k * 32 + i % 32])).sum();
            assert_eq!(*value, (f64::from(base[i]) + scale * sum) as f32, "{options}: element {i}");
        }
    }
}

#[test]
fn convolutions_and_biases_are_adapted() {
    let projection = "embeddings.patch_embeddings.projection";
    let folder = changed(json!({"r": 2, "rank_pattern": {"query": 4, "value": 4}, "bias": "all"}), |adapter| {
        let name = |end: &str| format!("base_model.model.vit.{projection}.{end}");
        adapter.insert(name("lora_A.weight"), (vec![2, 3, 8, 8], (0..2 * 192).map(|i| i as f32 / 1024.0).collect()));
        adapter.insert(name("lora_B.weight"), (vec![32, 2, 1, 1], (0..64).map(|i| i as f32 / 64.0).collect()));
        adapter.insert(name("base_layer.bias"), (vec![32], vec![0.5; 32]));
    });
    let (base, merged) = (Checkpoint::open(path(CASE)).expect("a checkpoint"), open(folder.path()).expect("a checkpoint"));
    let [before, after] = [&base, &merged].map(|checkpoint| weight(checkpoint, &format!("vit.{projection}.weight")));
    let (row, column) = (5, 100);
    let sum: f64 = (0..2).map(|k| f64::from((row * 2 + k) as f32 / 64.0) * f64::from((k * 192 + column) as f32 / 1024.0)).sum();
    assert_eq!(after[row * 192 + column], (f64::from(before[row * 192 + column]) + 4.0 * sum) as f32);
    assert_eq!(weight(&merged, &format!("vit.{projection}.bias")), [0.5; 32]);
}

#[test]
fn other_adapters_are_refused_by_name() {
    let renamed = |from: &'static str, to: &'static str| {
        move |adapter: &mut Tensors| *adapter = std::mem::take(adapter).into_iter().map(|(name, tensor)| (name.replace(from, to), tensor)).collect()
    };
    let no = |_: &mut Tensors| {};
    let cases: Vec<(tempfile::TempDir, &str)> = vec![
        (changed(json!({"peft_type": "IA3"}), no), "peft_type = \"IA3\" is not supported"),
        (changed(json!({"use_dora": true}), no), "use_dora"),
        (changed(json!({"lora_bias": true}), no), "lora_bias"),
        (changed(json!({"layer_replication": [[0, 1]]}), no), "layer_replication"),
        (changed(json!({"init_lora_weights": "pissa_niter_4"}), no), "init_lora_weights"),
        (changed(json!({"r": 8}), no), "expected rank 8"),
        (changed(json!({"r": "four"}), no), "r: expected a number"),
        (changed(json!({"alpha_pattern": {".*query": 1}}), no), "alpha_pattern"),
        (changed(json!({"modules_to_save": 3}), no), "modules_to_save"),
        (changed(json!({}), renamed("layer.1", "layer.2")), "layer.2.attention.attention.query.lora_A.weight"),
        (changed(json!({}), renamed("vit.", "text_model.")), "text_model.encoder"),
        (changed(json!({}), renamed("base_model.model.", "")), "base_model.model.MODULE"),
        (changed(json!({}), renamed("lora_A", "lora_embedding_A")), "lora_embedding_A"),
        (changed(json!({}), renamed("layer.0.attention.attention.query.lora_B", "layer.0.x.lora_B")), "query.lora_B.weight"),
        (changed(json!({}), renamed("value.lora_A", "other.lora_A")), "other.lora_A"),
        (
            changed(json!({}), |adapter| {
                let new = |name: &str| name.replace("encoder.layer.0.attention.attention.query", "layers.0.attention.q_proj");
                let twice: Vec<_> =
                    adapter.iter().filter(|(name, _)| name.starts_with(QUERY)).map(|(name, tensor)| (new(name), tensor.clone())).collect();
                adapter.extend(twice);
            }),
            "another tensor of the adapter",
        ),
        (
            changed(json!({}), |adapter| {
                adapter.insert(format!("{QUERY}.lora_B.weight"), (vec![31, 4], vec![0.0; 124]));
            }),
            "expected factors of a tensor of shape [32, 32]",
        ),
        (
            changed(json!({}), |adapter| {
                adapter.insert(format!("{QUERY}.lora_A.weight"), (vec![4, 32], vec![f32::NAN; 128]));
            }),
            "finite",
        ),
        (
            changed(json!({}), |adapter| {
                adapter.insert("base_model.model.classifier.scale".to_owned(), (vec![1], vec![0.0]));
            }),
            "classifier.scale",
        ),
    ];
    for (folder, words) in cases {
        let error = open(folder.path()).expect_err(words).to_string();
        assert!(error.contains(words), "{error:?} does not mention {words:?}");
    }
    assert!(open(&path(CASE)).expect_err("it is a model").to_string().contains("adapter_config.json: no such file"));
}

/// A tensor of the model is changed once.
#[test]
fn adapters_that_contradict_themselves_are_refused() {
    let refused = |change: fn(&mut Tensors), words: &str| {
        let folder = changed(json!({ "modules_to_save": ["head"] }), change);
        let error = open(folder.path()).expect_err("it is wrong").to_string();
        assert!(error.contains(words), "{error}");
    };
    let whole = |tensors: &mut Tensors| drop(tensors.insert(format!("{QUERY}.weight"), (vec![64, 32], vec![0.5; 64 * 32])));
    refused(whole, "belongs to");
    let twice = |tensors: &mut Tensors| {
        for name in ["layernorm.weight", "layernorm.base_layer.weight"] {
            tensors.insert(format!("base_model.model.vit.{name}"), (vec![32], vec![0.5; 32]));
        }
    };
    refused(twice, "belongs to");
    let unread = |tensors: &mut Tensors| drop(tensors.insert("base_model.model.head.weight".to_owned(), (vec![5, 32], vec![0.5; 160])));
    refused(unread, "the model has no tensor that it belongs to");
    refused(|tensors| drop(tensors.insert("base_model.model.classifier.weight".to_owned(), (vec![], vec![0.5]))), "expected 2 axes");
}

#[test]
fn program_merges_adapters_and_spares_their_files() {
    let folder = changed(json!({}), |_| {});
    let weights = folder.path().join("adapter_model.safetensors");
    let output = folder.path().join("logits.safetensors");
    let run = |output: &Path| {
        let arguments = ["forward", "--device", "cpu", "--model"].map(OsStr::new);
        let (model, expected) = (path(CASE), case("expected.safetensors"));
        let rest =
            ["--adapter".as_ref(), folder.path().as_os_str(), "--input".as_ref(), expected.as_os_str(), "--output".as_ref(), output.as_os_str()];
        vitraux(arguments.into_iter().chain([model.as_os_str()]).chain(rest))
    };
    let well = run(&output);
    assert_eq!(well.code, 0, "{}", well.stderr);
    let difference = largest_difference(
        &open_tensor(&output, "logits").expect("logits").values(),
        &open_tensor(case("expected.safetensors"), "logits").expect("logits").values(),
    );
    assert!(difference <= 1.5e-5, "off by {difference}");
    let badly = run(&weights);
    assert!(badly.code != 0 && badly.errors().len() == 1, "{}", badly.stderr);
    assert!(tensors(&weights).contains_key(&format!("{QUERY}.lora_A.weight")));
    let built_in = vitraux(["classify", "--adapter"].map(OsStr::new).into_iter().chain([folder.path().as_os_str(), OsStr::new("x.png")]));
    assert!(built_in.code == 1 && built_in.errors()[0].contains("--adapter"), "{}", built_in.stderr);
    // Nothing that it could change, or no weights of its own.
    let image = "../tests/fixtures/cases/hf_vit_cls/image.png";
    for (arguments, code) in [
        (&["preprocess", "--output", "x.safetensors", image, "--adapter", "x"][..], 1),
        (&["bench", "model", "--architecture", "vit_tiny_patch16_224", "--adapter", "x"], 2),
        (&["tune", "--architecture", "vit_tiny_patch16_224", "--adapter", "x"], 2),
        (&["tune", "--show", "--adapter", "x"], 2),
    ] {
        let refused = vitraux(arguments.iter().map(OsStr::new));
        assert!(refused.code == code && refused.errors()[0].contains("--adapter"), "{arguments:?}: {}", refused.stderr);
    }
}
