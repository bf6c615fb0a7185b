//! `adapter_config.json`.

use crate::data::error::{Error, Result};
use crate::execution::checkpoint::json::Object;
use serde_json::Value;

/// Options that change the formula or the base model.
const UNSUPPORTED: [&str; 14] = [
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "lora_ga_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// Initialisations that leave the base model as it is.
const INITIALISATIONS: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// What the configuration of an adapter says of its tensors. `fan_in_fan_out` is for layers that no Vision Transformer has; peft ignores it for others.
pub struct AdapterConfig {
    rank: f64,
    alpha: f64,
    ranks: Pattern,
    alphas: Pattern,
    /// Whether alpha is divided by the square root of the rank (Kalajdzievski 2023).
    is_rank_stabilized: bool,
    /// Modules that are saved whole.
    saved: Vec<String>,
}

impl AdapterConfig {
    /// Reads the configuration, and refuses what is no plain LoRA.
    pub fn read(root: &Object) -> Result<AdapterConfig> {
        if root.string("peft_type")? != Some("LORA") {
            return Err(root.unsupported("peft_type", "LORA"));
        }
        let is_set = |value: &Value| match value {
            Value::Bool(is_set) => *is_set,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        if let Some(key) = UNSUPPORTED.into_iter().find(|key| root.get(key).is_some_and(is_set)) {
            return Err(root.unsupported(key, "none; only plain LoRA"));
        }
        match root.get("init_lora_weights") {
            None | Some(Value::Bool(_)) => {}
            Some(Value::String(name)) if INITIALISATIONS.contains(&name.as_str()) => {}
            Some(_) => return Err(root.unsupported("init_lora_weights", &format!("true, false, {}", INITIALISATIONS.join(", ")))),
        }
        let saved = root.get("modules_to_save").map(|list| serde_json::from_value(list.clone()));
        Ok(AdapterConfig {
            rank: root.number("r")?.unwrap_or(8.0),
            alpha: root.number("lora_alpha")?.unwrap_or(8.0),
            ranks: Pattern::read(root, "rank_pattern")?,
            alphas: Pattern::read(root, "alpha_pattern")?,
            is_rank_stabilized: root.bool("use_rslora")?.unwrap_or(false),
            saved: saved.transpose().map_err(|_| root.wrong("modules_to_save", "a list of names"))?.unwrap_or_default(),
        })
    }

    /// Returns the factor of a module's update, whose rank must be the configured one.
    pub fn scale(&self, module: &str, rank: usize) -> Result<f64> {
        let configured = self.ranks.of(module).unwrap_or(self.rank);
        if configured != rank as f64 {
            return Err(Error::tensor(module, format!("expected rank {configured} from the adapter's configuration, found {rank}")));
        }
        let alpha = self.alphas.of(module).unwrap_or(self.alpha);
        Ok(alpha / if self.is_rank_stabilized { configured.sqrt() } else { configured })
    }

    /// Whether a module is saved whole.
    pub fn saves(&self, module: &str) -> bool {
        self.saved.iter().any(|name| is_end(module, name))
    }
}

/// Numbers for the modules whose names end with a key.
struct Pattern(Vec<(String, f64)>);

impl Pattern {
    fn read(root: &Object, key: &str) -> Result<Pattern> {
        let Some(map) = root.object(key)? else { return Ok(Pattern(Vec::new())) };
        let entry = |name: &str| {
            // peft takes keys as regular expressions.
            let plain = name.trim_start_matches('^').replace("\\.", ".");
            let is_plain = plain.chars().all(|letter| letter.is_alphanumeric() || "._-".contains(letter));
            let value = map.number(name)?.filter(|_| is_plain);
            Ok((plain, value.ok_or_else(|| map.wrong(name, "a number for the name of a module without wildcards"))?))
        };
        map.keys().map(entry).collect::<Result<_>>().map(Pattern)
    }

    fn of(&self, module: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| is_end(module, name)).map(|(_, value)| *value)
    }
}

/// Whether the last components of a module's name are `end`.
fn is_end(module: &str, end: &str) -> bool {
    module.strip_suffix(end).is_some_and(|start| start.is_empty() || start.ends_with('.'))
}
