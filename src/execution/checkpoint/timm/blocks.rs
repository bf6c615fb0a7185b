//! Names of the tensors of timm's blocks.

use super::arguments::Mlp;
use crate::data::config::{Branches, Config};
use crate::execution::checkpoint::source::{Part, Source, linear, norm, packed, rms_norm};
use crate::execution::checkpoint::weights::{Block, Linear, Norm, PoolMlp, QkNorm};

/// What the names depend on besides the configuration.
pub struct Layout<'a> {
    pub config: &'a Config,
    pub mlp: Mlp,
    pub qkv_bias: bool,
    /// Whether the layers after attention and of the MLP have biases.
    pub bias: bool,
}

/// Returns a norm of the configured kind.
pub fn norm_of(config: &Config, name: &str, width: usize) -> Norm<Source> {
    if config.rms_norm { rms_norm(name, width) } else { norm(name, width) }
}

/// Returns the MLP after attention pooling, at `name`.
pub fn pool_mlp(config: &Config, name: &str, mlp_width: usize) -> PoolMlp<Source> {
    PoolMlp {
        norm: norm_of(config, &format!("{name}.norm"), config.width),
        linear1: linear(&format!("{name}.mlp.fc1"), [mlp_width, config.width], true),
        linear2: linear(&format!("{name}.mlp.fc2"), [config.width, mlp_width], true),
    }
}

/// Returns the layers of an MLP at `name`, and the norm between them.
pub fn mlp(config: &Config, form: Mlp, name: &str, bias: bool) -> (Linear<Source>, Option<Norm<Source>>, Linear<Source>) {
    let [gate, values] = ["fc1_g", "fc1_x"].map(|part| format!("{name}.{part}"));
    let first = match form {
        Mlp::Separate => packed(&[&gate, &values], [config.mlp_width, config.width], &[bias; 2]),
        Mlp::Plain | Mlp::Packed => linear(&format!("{name}.fc1"), [config.mlp_outputs(), config.width], bias),
    };
    let between = config.mlp_norm.then(|| norm_of(config, &format!("{name}.norm"), config.mlp_width));
    (first, between, linear(&format!("{name}.fc2"), [config.width, config.mlp_width], bias))
}

impl Layout<'_> {
    /// Returns block i, and the second half beside it if its halves come in pairs.
    pub fn block(&self, i: usize) -> (Block<Source>, Option<Block<Source>>) {
        match self.config.branches {
            Branches::Sequential => (self.sequential(i), None),
            Branches::Parallel => (self.parallel(i), None),
            Branches::Pairs => (self.half(i, 0), Some(self.half(i, 1))),
        }
    }

    /// timm's `Block` and `ResPostBlock`.
    fn sequential(&self, i: usize) -> Block<Source> {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let [norm1, norm2] = ["norm1", "norm2"].map(&name);
        let [scale1, scale2] = ["ls1.gamma", "ls2.gamma"].map(&name);
        self.named([&norm1, &norm2], [&name("attn"), &name("mlp")], [scale1, scale2])
    }

    /// One half of timm's `ParallelThingsBlock`.
    fn half(&self, i: usize, which: usize) -> Block<Source> {
        let [attention, mlp] = ["attns", "ffns"].map(|part| format!("blocks.{i}.{part}.{which}"));
        let norms = [&attention, &mlp].map(|name| format!("{name}.norm"));
        let scales = [&attention, &mlp].map(|name| format!("{name}.ls.gamma"));
        self.named([&norms[0], &norms[1]], [&format!("{attention}.attn"), &format!("{mlp}.mlp")], scales)
    }

    fn named(&self, norms: [&str; 2], [attention, mlp_name]: [&str; 2], [scale1, scale2]: [String; 2]) -> Block<Source> {
        let config = self.config;
        let width = config.width;
        let scale = |name: String| config.layer_scale.then(|| Source::stored(name, &[width]));
        let (mlp1, mlp_norm, mlp2) = mlp(config, self.mlp, mlp_name, self.bias);
        Block {
            norm1: norm_of(config, norms[0], width),
            qkv: linear(&format!("{attention}.qkv"), [3 * width, width], self.qkv_bias),
            qk_norm: qk_norm(config, attention),
            attention_norm: config.attention_norm.then(|| norm_of(config, &format!("{attention}.norm"), width)),
            projection: linear(&format!("{attention}.proj"), [width, width], self.bias),
            scale1: scale(scale1),
            norm2: Some(norm_of(config, norms[1], width)),
            mlp1,
            mlp_norm,
            mlp2,
            scale2: scale(scale2),
        }
    }

    /// timm's `ParallelScalingBlock`: the first layer of the MLP, queries, keys and values are rows of one matrix.
    fn parallel(&self, i: usize) -> Block<Source> {
        let config = self.config;
        let (width, mlp_width) = (config.width, config.mlp_width);
        let name = |part: &str| format!("blocks.{i}.{part}");
        let (end, all) = (mlp_width, mlp_width + 3 * width);
        let rows = |from: usize, to: usize| {
            let bias = match self.qkv_bias {
                true => Part::of_rows(name("in_proj.bias"), &[all], from..to),
                // Only the MLP has a bias then.
                false if from == 0 => Part::new(name("mlp_bias"), &[to]),
                false => Part::Zeros(to - from),
            };
            let weight = Part::of_rows(name("in_proj.weight"), &[all, width], from..to);
            Linear { weight: Source::of(vec![weight], &[to - from, width]), bias: Source::of(vec![bias], &[to - from]) }
        };
        // One scale for the sum of both.
        let scale = || config.layer_scale.then(|| Source::stored(name("ls.gamma"), &[width]));
        Block {
            norm1: norm_of(config, &name("in_norm"), width),
            qkv: rows(end, all),
            qk_norm: qk_norm(config, &format!("blocks.{i}")),
            attention_norm: None,
            projection: linear(&name("attn_out_proj"), [width, width], self.bias),
            scale1: scale(),
            norm2: None,
            mlp1: rows(0, end),
            mlp_norm: None,
            mlp2: linear(&name("mlp_out_proj"), [width, mlp_width], self.bias),
            scale2: scale(),
        }
    }
}

/// Returns the norms of queries and keys of an attention at `name`.
pub fn qk_norm(config: &Config, name: &str) -> Option<QkNorm<Source>> {
    let of = |part: &str| norm_of(config, &format!("{name}.{part}"), config.head_width());
    config.qk_norm.then(|| QkNorm { query: of("q_norm"), key: of("k_norm") })
}
