//! Models of any shape: recorded, run on the CPU, and compared with the GPU.

use serde_json::{Value, json};
use std::cell::OnceCell;
use std::sync::OnceLock;
use vitraux::low_level::checkpoint::random_of;
use vitraux::low_level::doctor::check_model;
use vitraux::low_level::forward::output_names;
use vitraux::{Checkpoint, Device, DeviceChoice, Model, Precision, Session, Tensor};

const PRECISIONS: [Precision; 4] = [Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8];

/// Operations of a pass up to which a model is run.
const LARGEST: u64 = 1 << 26;

/// Choices, each by a byte; the first of a list once there are none left.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % count
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// Returns a configuration in timm's layout. Not all combinations make a model.
fn config(choices: &mut Choices<'_>) -> Value {
    let architecture = choices.of(&[
        "vit_tiny_patch16_224",
        "vit_tiny_patch16_224",
        "vit_small_patch16_dinov3",
        "deit_tiny_distilled_patch16_224",
        "vit_tiny_r_s16_p8_224",
    ]);
    let patch = choices.of(&[[4, 4], [8, 8], [2, 6], [7, 5], [16, 16]]);
    let grid = choices.of(&[[3, 3], [1, 1], [2, 5], [7, 4], [9, 9]]);
    let width = choices.of(&[24, 8, 32, 48, 66, 96, 128]);
    let mut args = json!({
        "img_size": [patch[0] * grid[0], patch[1] * grid[1]],
        "patch_size": patch,
        "embed_dim": width,
        "depth": choices.of(&[1, 2, 3]),
        "num_heads": choices.of(&[2, 1, 3, 4, 6]),
        "in_chans": choices.of(&[3, 1, 4]),
        "num_classes": choices.of(&[5, 0, 1, 130]),
    });
    let others: [(&str, &[Value]); 15] = [
        ("mlp_ratio", &[json!(4.0), json!(0.5), json!(2.7)]),
        ("qkv_bias", &[json!(false)]),
        ("qk_norm", &[json!(true)]),
        ("init_values", &[json!(1e-5), json!(1.0)]),
        ("class_token", &[json!(false)]),
        ("reg_tokens", &[json!(1), json!(4)]),
        ("num_reg_tokens", &[json!(0), json!(3)]),
        ("no_embed_class", &[json!(true)]),
        ("pos_embed", &[json!("none"), json!("learn")]),
        ("pre_norm", &[json!(true)]),
        ("final_norm", &[json!(false)]),
        ("fc_norm", &[json!(true), json!(false)]),
        ("global_pool", &[json!("avg"), json!("token"), json!("map"), json!("")]),
        ("act_layer", &[json!("gelu_tanh"), json!("quick_gelu"), json!("relu"), json!("silu")]),
        ("mlp_layer", &[json!("SwiGLUPacked")]),
    ];
    for (key, values) in others {
        // Left out twice as often as not.
        if choices.below(3) == 1 {
            args[key] = choices.of(values);
        }
    }
    json!({ "architecture": architecture, "model_args": args })
}

/// Returns a model of any shape that is not too large, and the remaining choices.
fn model(data: &[u8]) -> Option<(Checkpoint, Choices<'_>)> {
    let mut choices = Choices(data);
    let checkpoint = random_of(&config(&mut choices).to_string()).ok()?;
    let flops = checkpoint.config().flops(checkpoint.config().native_size()).ok()?;
    (flops <= LARGEST).then_some((checkpoint, choices))
}

/// A recording of a model of any shape, in any precision, of any outputs, for a batch, on the CPU.
pub fn recording(data: &[u8]) -> bool {
    let Some((checkpoint, mut choices)) = model(data) else { return false };
    let config = checkpoint.config().clone();
    let names = output_names(&config);
    let wanted: Vec<String> = (0..=choices.below(4)).map(|_| choices.of(&names)).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let precision = choices.of(&PRECISIONS);
    let model = Model::builder(checkpoint).device(Device::cpu()).precision(precision).load_blocking().expect("its weights are finite");
    let shape = config.input_shape(1 + choices.below(3), config.native_size()).expect("the model's own size");
    let outputs = model.session().forward_blocking(&Tensor::zeros(shape), &wanted).expect("outputs of the model");
    assert!(outputs.values().all(|output| output.values().iter().all(|value| value.is_finite())), "{wanted:?} of {config:?}");
    true
}

/// A model of any shape, in any precision, on the GPU, every tensor of which must be as close to the CPU's as rounding explains.
pub fn model_on_gpu(data: &[u8]) -> bool {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    let gpu = GPU.get_or_init(|| match Device::open_blocking(DeviceChoice::Gpu) {
        Ok(device) => Some(device),
        Err(error) => {
            assert!(std::env::var_os("VITRAUX_REQUIRE_GPU").is_none_or(|value| value != "1"), "VITRAUX_REQUIRE_GPU=1, but {error}");
            println!("SKIPPED on the GPU: {error}; VITRAUX_REQUIRE_GPU=1 makes this a failure");
            None
        }
    });
    let (Some(gpu), Some((checkpoint, mut choices))) = (gpu, model(data)) else { return false };
    let config = checkpoint.config().clone();
    let builder = Model::builder(checkpoint).device(gpu.clone()).precision(choices.of(&PRECISIONS));
    let report = check_model(builder, config.native_size(), &|kernel| kernel).expect("it is examined");
    assert!(report.first_divergence().is_none(), "{:?} of {config:?}", report.first_divergence());
    true
}

/// A pass of the digits model on the CPU: the first bytes choose batch, precision and outputs, the others the shape.
pub fn pass(data: &[u8]) -> bool {
    thread_local!(static SESSIONS: [OnceCell<Session>; 3] = const { [OnceCell::new(), OnceCell::new(), OnceCell::new()] });
    let byte = |place: usize| usize::from(data.get(place).copied().unwrap_or(0));
    let precision = byte(0) % 3;
    SESSIONS.with(|sessions| {
        let session = sessions[precision].get_or_init(|| {
            let precision = PRECISIONS[precision];
            Model::builder(Checkpoint::digits()).device(Device::cpu()).precision(precision).load_blocking().expect("a model").session()
        });
        let mut session = session.model().clone().session();
        let shape: Vec<usize> = match byte(1) % 4 {
            0 => (0..byte(2) % 6).map(|axis| byte(3 + axis) % 40).collect(),
            _ => vec![byte(2) % 4, 1, 4 * (byte(3) % 16), 4 * (byte(4) % 16)],
        };
        let names = ["tokens", "features", "logits", "probabilities", "pca", "rollout", "embeddings"];
        let mut wanted: Vec<String> = names.iter().enumerate().filter(|(i, _)| byte(9) >> i & 1 == 1).map(|(_, name)| (*name).to_owned()).collect();
        wanted.push(format!("attn.{}.{}", byte(10) % 6, byte(11)));
        wanted.push(format!("hidden.{}", byte(12) % 6));
        wanted.truncate(1 + byte(13) % 8);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let Ok(outputs) = session.forward_blocking(&Tensor::zeros(shape), &wanted) else { return false };
        assert!(outputs.values().all(|output| output.values().iter().all(|value| value.is_finite())));
        true
    })
}
