//! `adapter_config.json`.

use crate::data::error::{Error, Result};
use crate::execution::checkpoint::json::Object;
use serde_json::Value;
use std::collections::HashMap;

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
    ranks: Ends<f64>,
    alphas: Ends<f64>,
    /// Whether alpha is divided by the square root of the rank (Kalajdzievski 2023).
    is_rank_stabilized: bool,
    /// Modules that are saved whole.
    saved: Ends<()>,
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
        let saved = root.get("modules_to_save").map(|list| serde_json::from_value::<Vec<String>>(list.clone())).transpose();
        let saved = saved.map_err(|_| root.wrong("modules_to_save", "a list of names"))?.unwrap_or_default();
        Ok(AdapterConfig {
            rank: root.number("r")?.unwrap_or(8.0),
            alpha: root.number("lora_alpha")?.unwrap_or(8.0),
            ranks: pattern(root, "rank_pattern")?,
            alphas: pattern(root, "alpha_pattern")?,
            is_rank_stabilized: root.bool("use_rslora")?.unwrap_or(false),
            saved: saved.into_iter().map(|name| (name, ())).collect(),
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
        self.saved.of(module).is_some()
    }
}

/// Reads numbers for the modules whose names end with a key.
fn pattern(root: &Object, key: &str) -> Result<Ends<f64>> {
    let Some(map) = root.object(key)? else { return Ok(Ends::default()) };
    let entry = |name: &str| {
        // peft takes keys as regular expressions.
        let plain = name.trim_start_matches('^').replace("\\.", ".");
        let is_plain = plain.chars().all(|letter| letter.is_alphanumeric() || "._-".contains(letter));
        let value = map.number(name)?.filter(|_| is_plain);
        Ok((plain, value.ok_or_else(|| map.wrong(name, "a number for the name of a module without wildcards"))?))
    };
    map.keys().map(entry).collect()
}

/// Values by the last components of modules' names, of which the first that fits counts.
struct Ends<T>(HashMap<String, (usize, T)>);

impl<T> Default for Ends<T> {
    fn default() -> Ends<T> {
        Ends(HashMap::new())
    }
}

impl<T> FromIterator<(String, T)> for Ends<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Ends<T> {
        let mut ends = HashMap::new();
        for (place, (end, value)) in entries.into_iter().enumerate() {
            ends.entry(end).or_insert((place, value));
        }
        Ends(ends)
    }
}

impl<T: Copy> Ends<T> {
    fn of(&self, module: &str) -> Option<T> {
        let ends = std::iter::successors(Some(module), |end| Some(end.split_once('.')?.1));
        ends.filter_map(|end| self.0.get(end)).min_by_key(|(place, _)| *place).map(|(_, value)| *value)
    }
}
