//! Files that the library reads.

use super::in_folder;
use std::path::Path;
use vitraux::low_level::checkpoint::{open_preprocess, open_tensor};
use vitraux::{Checkpoint, Device, Head, Image, Model, Tensor, Tokenizer, Tuning};

const CONFIG: &[u8] = include_bytes!("../../tests/fixtures/bad/base/config.json");
const WEIGHTS: &[u8] = include_bytes!("../../tests/fixtures/bad/base/model.safetensors");

/// Opens a checkpoint, and if it is one, runs it.
fn open_and_run(path: &Path) -> bool {
    let Ok(checkpoint) = Checkpoint::open(path) else { return false };
    let Ok(shape) = checkpoint.config().input_shape(1, checkpoint.config().native_size()) else { return false };
    // Larger ones are right, and slow.
    if shape.iter().product::<usize>() > 1 << 16 || checkpoint.config().flops(checkpoint.config().native_size()).is_ok_and(|flops| flops > 1 << 26) {
        return true;
    }
    // Weights may be infinite.
    Model::builder(checkpoint).device(Device::cpu()).load_blocking().is_ok_and(|model| {
        let outputs = model.session().forward_blocking(&Tensor::zeros(shape), &["tokens"]);
        outputs.is_ok()
    })
}

/// `config.json` beside the weights of a tiny model.
pub fn config(data: &[u8]) -> bool {
    in_folder(&[("config.json", data), ("model.safetensors", WEIGHTS)], open_and_run)
}

/// `model.safetensors` beside the configuration of a tiny model.
pub fn weights(data: &[u8]) -> bool {
    in_folder(&[("config.json", CONFIG), ("model.safetensors", data)], open_and_run)
}

/// An npz file of google-research.
pub fn npz(data: &[u8]) -> bool {
    in_folder(&[("model.npz", data)], |folder| open_and_run(&folder.join("model.npz")))
}

/// `pytorch_model.bin` beside the configuration of a tiny model.
pub fn pytorch(data: &[u8]) -> bool {
    in_folder(&[("config.json", CONFIG), ("pytorch_model.bin", data)], open_and_run)
}

/// A LoRA adapter of a tiny model.
pub fn adapter(data: &[u8]) -> bool {
    const BASE: [(&str, &[u8]); 2] = [
        ("config.json", include_bytes!("../../tests/fixtures/adapters/hf_vit_lora/config.json")),
        ("model.safetensors", include_bytes!("../../tests/fixtures/adapters/hf_vit_lora/model.safetensors")),
    ];
    const ADAPTER: &[u8] = include_bytes!("../../tests/fixtures/adapters/hf_vit_lora/adapter/adapter_config.json");
    let files = [BASE.as_slice(), &[("adapter_config.json", ADAPTER), ("adapter_model.safetensors", data)]].concat();
    in_folder(&files, |folder| Checkpoint::builder(folder).adapter(folder).open().is_ok())
}

/// A classifier for `--head`, and tensors for `forward`.
pub fn head(data: &[u8]) -> bool {
    in_folder(&[("head.safetensors", data)], |folder| {
        let file = folder.join("head.safetensors");
        let answers = Head::open(&file).and_then(|head| {
            let model = Model::builder(Checkpoint::digits().with_head("", head)?).device(Device::cpu()).load_blocking()?;
            model.session().classify_blocking(&Image::new([8, 8], 1, vec![99; 64])?, 5)
        });
        answers.is_ok() || open_tensor(&file, "pixel_values").is_ok_and(|tensor| tensor.values().len() == tensor.len())
    })
}

/// A tuning table.
pub fn table(data: &[u8]) -> bool {
    in_folder(&[("table.json", data)], |folder| {
        let Ok(table) = Tuning::open(folder.join("table.json")) else { return false };
        let _ = table.choices();
        let _ = table.to_string();
        true
    })
}

/// An image, through the preprocessing of the digits model.
pub fn image(data: &[u8]) -> bool {
    // Larger ones are decoded, and slow.
    const LIMIT: u64 = 8 << 20;
    in_folder(&[("image", data)], |folder| {
        let Ok(image) = Image::open_within(folder.join("image"), LIMIT) else { return false };
        assert_eq!(image.data.len(), image.width * image.height * image.channels);
        Checkpoint::digits().preprocess.expect("it takes images").apply(&image).is_ok()
    })
}

/// `preprocessor_config.json`, applied to small images.
pub fn processor(data: &[u8]) -> bool {
    const CONFIG: &[u8] = include_bytes!("../../tests/fixtures/cases/hf_vit_cls/config.json");
    in_folder(&[("config.json", CONFIG), ("preprocessor_config.json", data)], |folder| {
        let Ok(preprocess) = open_preprocess(folder, None) else { return false };
        for (size, channels) in [([5, 7], 3), ([64, 32], 1)] {
            let image = Image::new(size, channels, vec![99; size[0] * size[1] * channels]).expect("an image");
            // Larger ones are right, and slow.
            if preprocess.output_size(size).is_ok_and(|[height, width]| height * width > 1 << 20) {
                continue;
            }
            if let Ok(pixels) = preprocess.apply(&image) {
                assert!(pixels.len() <= 1 << 28);
            }
        }
        true
    })
}

/// Takes texts apart with a tokenizer, if it is one.
fn tokenize(folder: &Path) -> bool {
    let Ok(tokenizer) = Tokenizer::open(folder) else { return false };
    for text in ["a photo of a cat's 1st ﬁne <|endoftext|></s> naïve 猫🐱 \u{301}", ""] {
        if let Ok(tokens) = tokenizer.encode(&[text]) {
            assert_eq!(tokens.ids.len(), tokenizer.length());
        }
    }
    true
}

/// `tokenizer.json` of CLIP.
pub fn tokenizer(data: &[u8]) -> bool {
    in_folder(&[("config.json", br#"{"model_type": "clip"}"#), ("tokenizer.json", data)], tokenize)
}

/// `tokenizer_config.json` beside the vocabulary of CLIP.
pub fn tokenizer_config(data: &[u8]) -> bool {
    const VOCABULARY: &[u8] = include_bytes!("../../tests/fixtures/tokenizers/clip_added/vocab.json");
    const MERGES: &[u8] = include_bytes!("../../tests/fixtures/tokenizers/clip_added/merges.txt");
    let files = [
        ("config.json", br#"{"model_type": "clip"}"#.as_slice()),
        ("vocab.json", VOCABULARY),
        ("merges.txt", MERGES),
        ("tokenizer_config.json", data),
    ];
    in_folder(&files, tokenize)
}

/// `tokenizer.json` of T5's class.
pub fn unigram(data: &[u8]) -> bool {
    let files = [
        ("config.json", br#"{"model_type": "siglip"}"#.as_slice()),
        ("tokenizer_config.json", br#"{"tokenizer_class": "T5Tokenizer"}"#),
        ("tokenizer.json", data),
    ];
    in_folder(&files, tokenize)
}

/// `spiece.model` of SigLIP.
pub fn pieces(data: &[u8]) -> bool {
    in_folder(&[("config.json", br#"{"model_type": "siglip"}"#), ("spiece.model", data)], tokenize)
}
