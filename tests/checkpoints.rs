//! Checkpoints that are wrong in ways that the bad set does not have.

use crate::support::path;
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;
use vitraux::config::{Activation, Size};
use vitraux::{Checkpoint, Device, Head, Image, Model, Tensor};

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

/// A copy of the digits model.
fn digits() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(path("examples/digits").join(file), folder.path().join(file)).expect("a copy");
    }
    folder
}

/// Logits of a checkpoint on the CPU.
fn logits(checkpoint: Checkpoint) -> Vec<f32> {
    let mut session = Model::builder(checkpoint).device(Device::cpu()).load_blocking().expect("a model").session();
    let input = Tensor::new([1, 1, 32, 32], (0..1024).map(|i| (i % 7) as f32).collect()).expect("pixels");
    session.forward_blocking(&input, &["logits"]).expect("logits")["logits"].values().into_owned()
}

#[test]
fn checkpoints_survive_truncated_files() {
    let folder = digits();
    let weights = folder.path().join("model.safetensors");
    let expected = logits(Checkpoint::digits());
    let checkpoint = Checkpoint::open(folder.path()).expect("a checkpoint");
    std::fs::File::create(&weights).expect("it is truncated");
    assert_eq!(logits(checkpoint), expected);
    refused(Checkpoint::open(folder.path()), &["empty"]);
}

/// The length of a header of 640 bytes has the first two bytes of a pickle.
#[test]
fn truncated_safetensors_are_not_taken_for_a_pickle() {
    let folder = digits();
    let cut = [&640_u64.to_le_bytes()[..], b"{\"__metadata__\""].concat();
    std::fs::write(folder.path().join("model.safetensors"), cut).expect("it is written");
    refused(Checkpoint::open(folder.path()), &["not a valid safetensors file", "download it again"]);
}

/// The files of a folder, in memory.
fn in_memory(folder: &Path) -> vitraux::Result<Checkpoint> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
    let named = |path: std::path::PathBuf| {
        (path.file_name().expect("a name").to_str().expect("UTF-8").to_owned(), Cursor::new(std::fs::read(&path).expect("a file")))
    };
    Checkpoint::builder_from_files(folder, files.map(named)).open()
}

#[test]
fn checkpoints_in_memory_are_those_of_folders() {
    let folders = ["tests/fixtures/cases", "tests/fixtures/bad/checkpoints"].map(|parent| {
        let entries = std::fs::read_dir(path(parent)).expect("folders").map(|entry| entry.expect("an entry").path());
        let mut folders: Vec<_> = entries.filter(|folder| folder.is_dir()).collect();
        folders.sort();
        folders
    });
    let [mut opened, mut failed] = [0; 2];
    for folder in folders.concat() {
        match (Checkpoint::open(&folder), in_memory(&folder)) {
            (Ok(stored), Ok(in_memory)) => {
                opened += 1;
                let described = |checkpoint: &Checkpoint| format!("{:?} {:?} {:?}", checkpoint.config(), checkpoint.preprocess, checkpoint.positions);
                assert_eq!(described(&stored), described(&in_memory), "{}", folder.display());
                for (stored, in_memory) in stored.numbered_weights().into_iter().zip(in_memory.numbered_weights()) {
                    let bits = |tensor: &Tensor| tensor.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                    assert!(stored.name == in_memory.name && bits(&stored.tensor) == bits(&in_memory.tensor), "{}", stored.name);
                }
            }
            (Err(stored), Err(in_memory)) => {
                failed += 1;
                // An empty file is no different from a short one in memory; and which of two overlapping tensors is named is left to chance.
                let message = |error: &vitraux::Error| error.to_string().split('(').next().map(str::to_owned);
                if !stored.to_string().contains("the file is empty") {
                    assert_eq!(message(&stored), message(&in_memory));
                }
            }
            (stored, in_memory) => panic!("{}: {stored:?} and {in_memory:?}", folder.display()),
        }
    }
    assert!(opened > 50 && failed > 20, "{opened} folders were opened, {failed} failed");
}

/// A file that notes which threads read it.
struct Watched(Cursor<Vec<u8>>, Arc<Mutex<HashSet<ThreadId>>>);

impl Read for Watched {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.1.lock().expect("no panics").insert(thread::current().id());
        // Long enough that another thread would take the next tensor.
        thread::sleep(Duration::from_millis(1));
        self.0.read(bytes)
    }
}

impl Seek for Watched {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

/// A browser's file cannot be read by another thread than its own.
#[test]
fn one_thread_reads_the_weights_of_given_files() {
    let readers = Arc::new(Mutex::new(HashSet::new()));
    let file =
        |name: &str| (name.to_owned(), Watched(Cursor::new(std::fs::read(path("examples/digits").join(name)).expect("a file")), readers.clone()));
    let checkpoint = Checkpoint::builder_from_files("given", ["config.json", "model.safetensors"].map(file)).open().expect("a checkpoint");
    readers.lock().expect("no panics").clear();
    assert_eq!(logits(checkpoint), logits(Checkpoint::digits()));
    assert_eq!(readers.lock().expect("no panics").len(), 1);
}

#[test]
fn mapped_files_are_locked() {
    let folder = digits();
    let weights = std::fs::File::open(folder.path().join("model.safetensors")).expect("weights");
    let mapped = || Checkpoint::builder(folder.path()).mapped_from(0).open();
    let checkpoint = mapped().expect("a checkpoint");
    assert!(weights.try_lock().is_err(), "a shared lock");
    assert_eq!(logits(checkpoint.clone()), logits(Checkpoint::digits()));
    mapped().expect("another reader");
    drop(checkpoint);
    weights.try_lock().expect("no lock is left");
    refused(mapped(), &["locked"]);
    assert!(Checkpoint::open(folder.path()).is_ok(), "what is read needs no lock");
}

fn refused(result: vitraux::Result<Checkpoint>, words: &[&str]) {
    let error = result.expect_err("it is wrong").to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error} does not mention {words:?}");
}

#[test]
fn transposed_weight_is_refused() {
    let name = "blocks.0.mlp.fc1.weight";
    let transposed = |tensor: &str, shape: &mut Vec<usize>| {
        if tensor == name {
            shape.reverse();
        }
    };
    refused(changed("timm_vit_tiny", |_| (), transposed), &[name, "[192, 48]", "[48, 192]"]);
}

#[test]
fn channels_last_patch_weight_is_refused() {
    let channels_last = |tensor: &str, shape: &mut Vec<usize>| {
        if tensor == "patch_embed.proj.weight" {
            shape[1..].rotate_left(1);
        }
    };
    refused(changed("timm_vit_tiny", |_| (), channels_last), &["patch_embed.proj.weight", "[48, 3, 8, 8]", "[48, 8, 8, 3]"]);
}

#[test]
fn excessive_token_count_is_refused() {
    let huge = |root: &mut Value| {
        root["model_args"]["img_size"] = json!([2048, 2048]);
        root["model_args"]["embed_dim"] = json!(65520);
    };
    refused(changed("timm_vit_tiny", huge, |_, _| ()), &["65537 tokens"]);
}

#[test]
fn unsupported_options_are_refused_by_name() {
    for (key, value) in [
        ("attn_layer", json!("diff")),
        ("block_fn", json!("DiffParallelScalingBlock")),
        ("global_pool", json!("prr")),
        ("class_token", json!(false)),
        ("norm_layer", json!("groupnorm")),
        ("rope", json!(1)),
    ] {
        refused(changed("timm_vit_tiny", |root| root["model_args"][key] = value.clone(), |_, _| ()), &[key]);
    }
    for (key, value) in [("hidden_act", json!("mish")), ("model_type", json!("swin")), ("architectures", json!(["ViTForMaskedImageModeling"]))] {
        refused(changed("hf_vit_cls", |root| root[key] = value.clone(), |_, _| ()), &[key]);
    }
}

#[test]
fn config_defaults_and_aliases_follow_the_libraries() {
    let open =
        |case: &str, config: &dyn Fn(&mut Value)| changed(case, config, |_, _| ()).unwrap_or_else(|error| panic!("{case}: {error}")).config().clone();
    // timm: -1 classes stand for the default, null arguments for absent ones.
    let config = open("timm_vit_tiny", &|root| {
        root["model_args"]["device"] = Value::Null;
        root["model_args"]["act_layer"] = json!("GELU");
        root["label_names"] = json!(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
    });
    assert_eq!((config.classifiers[0].classes, config.classifiers[0].labels[9].as_str()), (10, "j"));
    // Names that timm has given up, and names with the tag of the weights, are those of the same models.
    for name in ["vit_tiny_patch16_224_in21k", "vit_tiny_patch16_224.augreg_in21k"] {
        assert_eq!(open("timm_vit_tiny", &|root| root["architecture"] = json!(name)).name, name);
    }
    // transformers: classes without names are called LABEL_i.
    let config = open("hf_vit_cls", &|root| {
        root.as_object_mut().expect("an object").remove("id2label");
        root["num_labels"] = json!(6);
        root["architectures"] = json!([]);
    });
    assert_eq!((config.classifiers[0].classes, config.classifiers[0].labels[5].as_str()), (6, "LABEL_5"));
}

/// A thousand classes without names are ImageNet's; any that are given stand.
#[test]
fn thousand_unnamed_classes_get_imagenet_labels() {
    let open =
        |case: &str, config: &dyn Fn(&mut Value)| changed(case, config, |_, _| ()).unwrap_or_else(|error| panic!("{case}: {error}")).config().clone();
    let own = open("timm_test_vit_hubconfig", &|_| ()).classifiers.remove(0).labels;
    let at = |index: usize| own[index].as_str();
    assert_eq!(
        (own.len(), at(0), at(281), at(999)),
        (1000, "tench, Tinca tinca", "tabby, tabby cat", "toilet tissue, toilet paper, bathroom tissue")
    );
    let numbers: Vec<String> = (0..1000).map(|index| index.to_string()).collect();
    let given = open("timm_test_vit_hubconfig", &|root| root["label_names"] = json!(numbers)).classifiers.remove(0).labels;
    assert_eq!(given, numbers);
    assert!(open("timm_vit_tiny", &|_| ()).classifiers[0].labels.is_empty());
}

/// How many rows a checkpoint's position table has for an image, prefix tokens aside.
fn positions(checkpoint: &Checkpoint, image: [usize; 2]) -> usize {
    let grid = checkpoint.config().patches().expect("images").grid(image);
    checkpoint.positions.table.as_ref().expect("a table").at(grid).expect("finite").shape()[0]
}

/// timm resamples a position table when the image's grid is another one; `flexivit_*` in a way of its own.
#[test]
fn position_tables_are_resampled_like_timm() {
    let larger = |root: &mut Value| root["model_args"]["img_size"] = json!([96, 64]);
    let checkpoint = changed("timm_vit_tiny", larger, |_, _| ()).expect("resampled");
    assert_eq!(positions(&checkpoint, [96, 64]), 12 * 8);
    // A dynamic size: the model runs at that of the images, by way of the size that it is built for.
    let dynamic = |root: &mut Value| {
        larger(root);
        root["model_args"]["dynamic_img_size"] = json!(true);
    };
    let checkpoint = changed("timm_vit_tiny", dynamic, |_, _| ()).expect("resampled twice");
    assert_eq!((checkpoint.config().native_size(), positions(&checkpoint, [64, 64])), (Size::Image([64, 64]), 8 * 8));
    let twice = checkpoint.positions.table.expect("a table").at([8, 8]).expect("finite").values().into_owned();
    let stored = changed("timm_vit_tiny", |_| (), |_, _| ())
        .expect("a checkpoint")
        .positions
        .table
        .expect("a table")
        .at([8, 8])
        .expect("finite")
        .values()
        .into_owned();
    assert_ne!(twice, stored);
    // FlexiViT's tables are resampled linearly, and have no row for the class token.
    let flexible = |name: &'static str| {
        let rename = move |root: &mut Value| {
            larger(root);
            root["architecture"] = json!(name);
            root["model_args"]["no_embed_class"] = json!(true);
        };
        let shorter = |name: &str, shape: &mut Vec<usize>| {
            if name == "pos_embed" {
                *shape = vec![1, 65, 48];
            }
        };
        changed("timm_vit_tiny", rename, shorter)
    };
    refused(flexible("flexivit_small"), &["pos_embed", "96 rows", "found 65"]);
}

/// `n` classifiers' files.
fn head(folder: &Path, classes: usize, features: usize, labels: Option<&str>) -> std::path::PathBuf {
    let values = vec![0.5f32; classes * features + classes];
    let (weight, bias) = values.split_at(classes * features);
    let view = |shape: Vec<usize>, values| TensorView::new(safetensors::Dtype::F32, shape, bytemuck::cast_slice(values)).expect("as many values");
    let metadata = labels.map(|labels| [("labels".to_owned(), labels.to_owned())].into());
    let path = folder.join(format!("head{classes}x{features}.safetensors"));
    let views = [("head.weight", view(vec![classes, features], weight)), ("head.bias", view(vec![classes], bias))];
    safetensors::serialize_to_file(views, metadata, &path).expect("a file");
    path
}

#[test]
fn heads_are_replaced_added_and_dropped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = || Checkpoint::open(path("tests/fixtures/cases/timm_vit_tiny")).expect("a checkpoint");
    let pets = Head::open(head(folder.path(), 3, 48, Some(r#"["cat", "dog", "fish"]"#))).expect("a head");
    let parameters = own().parameters();
    assert_eq!(own().without_heads().parameters(), parameters - 490);
    let replaced = own().with_head("", pets.clone()).expect("it fits");
    assert_eq!((replaced.config().classifiers.len(), replaced.config().classifiers[0].labels[2].as_str()), (1, "fish"));
    assert_eq!(replaced.parameters(), parameters - 490 + 3 * 49);
    let wide = Head::open(head(folder.path(), 3, 47, None)).expect("a head");
    for (result, words) in [
        (own().with_head("pets", wide), ["47", "48"]),
        (own().with_head("a/b", pets.clone()), ["a/b", "letters"]),
        (own().with_head("pets", pets.clone()).and_then(|both| both.with_head("pets", pets.clone())), ["pets", "already"]),
    ] {
        refused(result, &words);
    }
    refused(Head::open(head(folder.path(), 3, 48, Some(r#"["cat"]"#))).and_then(|head| own().with_head("", head)), &["1 labels for 3 classes"]);
    refused(
        Head::open(path("tests/fixtures/cases/timm_vit_tiny/model.safetensors")).and_then(|head| own().with_head("", head)),
        &["expected one matrix"],
    );
    // A head with more than a dense layer would be another one without it.
    let normed = folder.path().join("normed.safetensors");
    let ones = vec![1.0f32; 48];
    let tensor = |shape: &[usize]| TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytemuck::cast_slice(&ones)).expect("a tensor");
    safetensors::serialize_to_file([("head.weight", tensor(&[1, 48])), ("norm.weight", tensor(&[48]))], None, &normed).expect("a file");
    refused(Head::open(normed).and_then(|head| own().with_head("", head)), &["head.weight", "norm.weight"]);

    // Several heads from one forward pass; what each gives is what it gives alone.
    for device in crate::support::gpu::devices() {
        let load = |checkpoint: Checkpoint| vitraux::Model::builder(checkpoint).device(device.clone()).load_blocking().expect("a model").session();
        let two = Head::open(head(folder.path(), 2, 48, None)).expect("a head");
        let all = own().with_head("pets", pets.clone()).expect("it fits").with_head("two", two).expect("it fits");
        let pixel_values = Tensor::new([1, 3, 64, 64], crate::support::cases::Rng::new("heads").units(3 * 64 * 64)).expect("pixels");
        let mut session = load(all);
        let outputs =
            session.forward_blocking(&pixel_values, &["logits", "logits_pets", "logits_two", "probabilities_two", "features"]).expect("outputs");
        let features = outputs["features"].values();
        for (name, classes) in [("logits_pets", 3), ("logits_two", 2)] {
            let expected = 0.5 * features.iter().sum::<f32>() + 0.5;
            assert_eq!(outputs[name].shape(), [1, classes]);
            assert!(outputs[name].values().iter().all(|logit| (logit - expected).abs() < 1e-5), "{name}");
        }
        let alone = load(own()).forward_blocking(&pixel_values, &["logits"]).expect("outputs");
        assert_eq!(alone["logits"].values(), outputs["logits"].values());
        let image = Image::new([64, 64], 3, vec![100; 64 * 64 * 3]).expect("an image");
        let answers = session.classify_blocking(&image, 2).expect("answers");
        let heads: Vec<(&str, usize)> = answers.iter().map(|answer| (answer.head.as_str(), answer.top.len())).collect();
        assert_eq!(heads, [("", 2), ("pets", 2), ("two", 2)]);
    }
}

/// A name that is not known, a model that has more than the configuration says: what is nearest, and where it ends.
#[test]
fn unsupported_models_are_refused_with_nearest_supported_name() {
    let name = |root: &mut Value| root["architecture"] = json!("vit_tiny_patch16_rope_224");
    refused(
        changed("timm_vit_tiny", name, |_, _| ()),
        &["vit_tiny_patch16_rope_224", "nearest supported", "vit_tiny_patch16", "tensors that it needs are present"],
    );
    let other = |root: &mut Value| {
        root["architecture"] = json!("vit_tiny_patch16_rope_224");
        root["model_args"]["depth"] = json!(4);
    };
    refused(changed("timm_vit_tiny", other, |_, _| ()), &["does not fit", "blocks.3.norm1.weight"]);
    // A name that is known, of a model that is not run: differential attention.
    let known = |root: &mut Value| root["architecture"] = json!("vit_dwee_patch16_reg1_gap_256");
    refused(changed("timm_vit_tiny", known, |_, _| ()), &["vit_dwee_patch16_reg1_gap_256", "attn_layer", "nearest supported"]);
    let deeper = |root: &mut Value| root["model_args"]["depth"] = json!(2);
    refused(changed("timm_vit_tiny", deeper, |_, _| ()), &["blocks.2.", "ignored silently"]);
    let plain = |root: &mut Value| root["model_args"]["qk_norm"] = json!(false);
    refused(changed("timm_qk_norm", plain, |_, _| ()), &["blocks.0.attn.k_norm.bias"]);
    // The patches of NaFlex models are flattened in another order, in a matrix of the same size.
    let flattened = |name: &str, shape: &mut Vec<usize>| {
        if name.ends_with("patch_embedding.weight") {
            *shape = vec![shape[0], shape[1..].iter().product()];
        }
    };
    refused(changed("hf_siglip_vision", |_| (), flattened), &["patch_embedding.weight", "expected shape"]);
    // Other fields than a Vision Transformer's: the tensors tell.
    let lists = |root: &mut Value| {
        root["model_type"] = json!("levit");
        root["num_attention_heads"] = json!([4, 8, 12]);
    };
    refused(changed("hf_vit_cls", lists, |_, _| ()), &["levit", "nearest supported", "tensor "]);
    // What the tensors say goes before what the name says.
    let renamed = |root: &mut Value| root["model_type"] = json!("dinov4");
    refused(changed("hf_vit_cls", renamed, |_, _| ()), &["model_type \"dinov4\"", "supported model is \"vit\"", "tensors that it needs are present"]);
    // Names that are known, with something that is not run, have it too.
    let class = |root: &mut Value| root["architectures"] = json!(["MyViT"]);
    refused(changed("hf_vit_cls", class, |_, _| ()), &["ViTForImageClassification", "supported model is \"vit\"", "does not guess"]);
    let normalised = |root: &mut Value| root["model_args"]["norm_layer"] = json!("groupnorm");
    refused(changed("timm_vit_tiny", normalised, |_, _| ()), &["norm_layer", "supported model is \"vit_tiny_patch16_224\""]);
    // Biases of norms that the configuration has none for.
    let without_bias = |root: &mut Value| root["model_args"]["norm_layer"] = json!("rmsnorm");
    refused(changed("timm_vit_tiny", without_bias, |_, _| ()), &["norm1.bias", "ignored silently"]);
    let linear = |root: &mut Value| root["rope_parameters"] = json!({ "rope_type": "linear", "rope_theta": 100.0 });
    refused(changed("hf_dinov3_vit", linear, |_, _| ()), &["rope_type"]);
}

/// What a checkpoint has beside the blocks counts as well.
#[test]
fn leftover_encoder_tensors_are_refused() {
    let with = |to: &'static str, rows: usize| {
        let base = path("tests/fixtures/cases/timm_vit_tiny");
        let bytes = std::fs::read(base.join("model.safetensors")).expect("a checkpoint");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let zeros = vec![0; rows * 48 * 4];
        let added = TensorView::new(safetensors::Dtype::F32, vec![1, rows, 48], &zeros).expect("a tensor");
        let tensors: Vec<_> = file.iter().map(|(name, view)| (name.to_owned(), view)).chain([(to.to_owned(), added)]).collect();
        safetensors::serialize_to_file(tensors, None, &folder.path().join("model.safetensors")).expect("a checkpoint");
        write(folder.path(), &crate::support::json("tests/fixtures/cases/timm_vit_tiny/config.json"));
        Checkpoint::open(folder.path())
    };
    for name in ["reg_token", "fc_norm.weight", "norm_pre.bias", "attn_pool.latent", "dist_token"] {
        refused(with(name, 1), &[name, "ignored silently"]);
        assert!(with(name, 0).is_ok(), "none of them is no tensor");
    }
    assert!(with("optimizer_state", 1).is_ok(), "what is not the encoder's is let be");
    // What only training needs is not computed, but counted: all that transformers counts.
    let case = path("tests/fixtures/cases/hf_dinov2_cls");
    let bytes = std::fs::read(case.join("model.safetensors")).expect("a checkpoint");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    assert!(file.names().iter().any(|name| name.ends_with("mask_token")));
    let all: usize = file.iter().map(|(_, view)| view.shape().iter().product::<usize>()).sum();
    assert_eq!(Checkpoint::open(case).expect("a checkpoint").parameters(), all);
}

/// transformers saves timm's models with a prefix of its own.
#[test]
fn timm_wrapper_checkpoints_load_as_timm_models() {
    let wrapped = |root: &mut Value| root["model_type"] = json!("timm_wrapper");
    let own = changed("timm_vit_tiny", |_| (), |_, _| ()).expect("a checkpoint");
    assert_eq!(changed("timm_vit_tiny", wrapped, |_, _| ()).expect("the prefix is not a must").parameters(), own.parameters());
    let bytes = std::fs::read(path("tests/fixtures/cases/timm_vit_tiny/model.safetensors")).expect("a checkpoint");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tensors: Vec<_> = file.iter().map(|(name, view)| (format!("timm_model.{name}"), view)).collect();
    safetensors::serialize_to_file(tensors, None, &folder.path().join("model.safetensors")).expect("a checkpoint");
    let mut root = crate::support::json("tests/fixtures/cases/timm_vit_tiny/config.json");
    wrapped(&mut root);
    write(folder.path(), &root);
    let checkpoint = Checkpoint::open(folder.path()).expect("a checkpoint");
    assert_eq!((checkpoint.parameters(), checkpoint.config().depth), (own.parameters(), own.config().depth));
}

#[test]
fn wrapped_modules_load_under_their_own_names() {
    let own = changed("timm_vit_tiny", |_| (), |_, _| ()).expect("a checkpoint");
    let bytes = std::fs::read(path("tests/fixtures/cases/timm_vit_tiny/model.safetensors")).expect("a checkpoint");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), &crate::support::json("tests/fixtures/cases/timm_vit_tiny/config.json"));
    let prefixes = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."];
    for (prefix, is_sharded) in prefixes.into_iter().flat_map(|prefix| [(prefix, false), (prefix, true)]) {
        let tensors: Vec<_> = file.iter().map(|(name, view)| (format!("{prefix}{name}"), view)).collect();
        let name = if is_sharded { "model-00001-of-00001.safetensors" } else { "model.safetensors" };
        let map: serde_json::Map<String, Value> = tensors.iter().map(|(tensor, _)| (tensor.clone(), json!(name))).collect();
        let index = folder.path().join("model.safetensors.index.json");
        std::fs::write(&index, json!({ "weight_map": map }).to_string()).expect("an index");
        safetensors::serialize_to_file(tensors, None, &folder.path().join(name)).expect("a checkpoint");
        assert_eq!(Checkpoint::open(folder.path()).expect(prefix).parameters(), own.parameters());
        std::fs::remove_file(folder.path().join(name)).expect("it is there");
    }
}

/// A model of timm's without pooling gives its tokens, and no features.
#[test]
fn models_without_pooling_output_tokens_not_features() {
    let unpooled = |root: &mut Value| {
        root["model_args"]["global_pool"] = json!("");
        root["model_args"]["num_classes"] = json!(0);
    };
    let config = changed("timm_vit_tiny", unpooled, |_, _| ()).expect("a checkpoint").config().clone();
    let names = vitraux::low_level::forward::output_names(&config);
    assert!(names.contains(&"tokens".to_owned()) && !names.contains(&"features".to_owned()));
    refused(changed("timm_vit_tiny", |root| root["model_args"]["global_pool"] = json!(""), |_, _| ()), &["global_pool"]);
}

/// A hybrid's configuration of its convolutional network is read, and a depth without tensors is limited.
#[test]
fn unsupported_backbones_and_excessive_depth_are_refused() {
    for (key, value) in [
        ("global_padding", json!(null)),
        ("layer_type", json!("preactivation")),
        ("out_features", json!(["stage2"])),
        ("embedding_dynamic_padding", json!(false)),
    ] {
        refused(changed("hf4_vit_hybrid", |root| root["backbone_config"][key] = value.clone(), |_, _| ()), &[key]);
    }
    refused(changed("hf4_vit_hybrid", |root| root["backbone_config"]["num_groups"] = json!(12), |_, _| ()), &["12 groups"]);
    for backbone in [json!(vec![1; 70]), json!([2, -1]), json!([1.5]), json!([1e18])] {
        refused(changed("timm_hybrid_r26", |root| root["model_args"]["backbone"] = backbone.clone(), |_, _| ()), &["backbone"]);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), &json!({ "model_type": "vit", "num_hidden_layers": 1_048_576 }));
    refused(Checkpoint::open(folder.path()), &["1048576", "1000"]);
}

#[test]
fn contradictory_configurations_are_refused() {
    let same = |_: &str, _: &mut Vec<usize>| {};
    let nested = |root: &mut Value| root["model_args"]["x"] = Value::Array((0..70_000).map(|_| json!({"": 0})).collect());
    refused(changed("timm_vit_tiny", nested, same), &["more than 65536 arrays and objects"]);
    for (mean, is_right) in [(json!([0.5]), true), (json!([0.5, 0.5, 0.5]), true), (json!([0.1, 0.9]), false), (json!([0.1, 0.2, 0.3, 0.4]), false)] {
        let with_mean = |root: &mut Value| root["pretrained_cfg"]["mean"] = mean.clone();
        match changed("timm_vit_tiny", with_mean, same) {
            Ok(_) => assert!(is_right, "{mean}"),
            error => refused(error.inspect(|_| assert!(!is_right, "{mean}")), &["mean: expected a value for each of 3 channels, or one"]),
        }
    }
    // A name that takes long to compare.
    let start = std::time::Instant::now();
    let long = |root: &mut Value| root["architecture"] = "vit_".repeat(200_000).into();
    refused(changed("timm_vit_tiny", long, same), &["is not known to vitraux"]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// timm passes `act_layer` to gated MLPs too, which otherwise have that of their architecture.
#[test]
fn gated_mlps_have_the_configured_activation() {
    for case in ["timm_aimv2_rms", "timm_dinov2_giant_swiglu"] {
        let activation = |config: &dyn Fn(&mut Value)| changed(case, config, |_, _| ()).expect("a checkpoint").config().activation;
        assert_eq!(activation(&|_| ()), Activation::Silu, "{case}");
        assert_eq!(activation(&|root| root["model_args"]["act_layer"] = json!("gelu")), Activation::Gelu, "{case}");
    }
}

/// transformers' `CLIPConfig` takes `vision_config_dict` for `vision_config`, with its own defaults; a tower alone knows only the latter.
#[test]
fn old_clip_sections_replace_new_ones() {
    let twice = |section: &'static str, class: &'static str| {
        move |root: &mut Value| {
            root[format!("{section}_dict")] = root[section].clone();
            root[format!("{section}_dict")].as_object_mut().expect("an object").remove("hidden_act");
            root[section]["hidden_act"] = json!("relu");
            root["architectures"] = json!([class]);
        }
    };
    let image = |class| changed("hf_clip_cls", twice("vision_config", class), |_, _| ()).expect("a checkpoint").config().activation;
    assert_eq!(image("CLIPForImageClassification"), Activation::QuickGelu);
    assert_eq!(image("CLIPVisionModel"), Activation::Relu);
    let both = changed("hf_clip_full_legacy", twice("text_config", "CLIPModel"), |_, _| ()).expect("a checkpoint");
    assert_eq!(both.text_config().expect("a text tower").activation, Activation::QuickGelu);
}

/// Nothing but the head pools the tokens of SigLIP.
#[test]
fn siglip_without_head_outputs_tokens_not_features() {
    let headless = |root: &mut Value| root["vision_use_head"] = json!(false);
    let config = changed("hf_siglip_vision", headless, |_, _| ()).expect("a checkpoint").config().clone();
    let names = vitraux::low_level::forward::output_names(&config);
    assert!(names.contains(&"tokens".to_owned()) && !names.contains(&"features".to_owned()));
    refused(changed("hf4_siglip_full", |root| headless(&mut root["vision_config"]), |_, _| ()), &["vision_use_head"]);
}

/// Of 64 rows, the size that the weights were saved for tells the grid: timm first makes them fit its default size, then the image.
#[test]
fn dynamic_position_tables_start_from_the_saved_grid() {
    let at = |height: usize, width: usize| {
        let dynamic = |root: &mut Value| {
            root["model_args"].as_object_mut().expect("an object").remove("img_size");
            root["model_args"]["dynamic_img_size"] = json!(true);
            root["pretrained_cfg"]["input_size"] = json!([3, height, width]);
        };
        let checkpoint = changed("timm_vit_tiny", dynamic, |_, _| ()).expect("a checkpoint");
        checkpoint.positions.table.expect("a table").at([4, 16]).expect("finite").values().into_owned()
    };
    assert_ne!(at(32, 128), at(64, 64));
    // A size that does not account for all rows says nothing.
    assert_eq!(at(32, 64), at(64, 64));
}

/// timm resamples the biases of such a window as if they were those of a square one.
#[test]
fn beit_windows_that_pass_for_square_are_refused() {
    let sized = |size: [usize; 2]| changed("timm_beitv2", |root| root["model_args"]["img_size"] = json!(size), |_, _| ());
    refused(sized([8, 40]), &["img_size", "1 x 5"]);
    refused(sized([16, 112]), &["img_size", "2 x 14"]);
    assert!(sized([32, 48]).is_ok());
}

/// timm builds no layer scale that starts from 0, and transformers' TIPSv2 may lack biases.
#[test]
fn absent_scales_and_biases_are_not_expected() {
    let scaled = |root: &mut Value| root["model_args"]["init_values"] = json!(0.0);
    assert!(!changed("timm_vit_tiny", scaled, |_, _| ()).expect("a checkpoint").config().layer_scale);
    let unbiased = |root: &mut Value| root["vision_config"]["qkv_bias"] = json!(false);
    refused(changed("hf_tipsv2", unbiased, |_, _| ()), &["attn.qkv.bias is in the checkpoint, but not in"]);
}
