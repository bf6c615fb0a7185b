//! Backbone of a timm hybrid.

use crate::data::config::{BACKBONE_GROUPS, Backbone, Stage};
use crate::data::error::Result;
use crate::execution::checkpoint::backbone::Naming;
use crate::execution::checkpoint::files::Files;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::source::Source;
use crate::execution::checkpoint::weights::Backbone as Weights;

/// Returns the backbone if the architecture is a hybrid. Sizes are those of the tensors; without files, those that timm builds.
pub fn read(args: &Object, files: Option<&Files>) -> Result<Option<Backbone>> {
    let Some(depths) = args.get("backbone") else { return Ok(None) };
    if !depths.is_array() {
        return Err(args.unsupported("backbone", "timm's ResNetV2 with standardised convolutions (r26, r50, or the stem alone)"));
    }
    let depths = args.numbers("backbone")?.unwrap_or_default();
    if depths.len() > 4 || depths.iter().any(|depth| depth.fract() != 0.0 || !(1.0..=100.0).contains(depth)) {
        return Err(args.wrong("backbone", "the depths of up to four stages"));
    }
    let stage = |(number, depth): (usize, &f64)| Stage { depth: *depth as usize, inner: 64 << number, outer: 256 << number };
    let built = Backbone { stem: 64, groups: BACKBONE_GROUPS, stages: depths.iter().enumerate().map(stage).collect() };
    match files {
        None => Ok(Some(built)),
        Some(files) => naming(&built).sizes(files, BACKBONE_GROUPS).map(Some),
    }
}

/// Returns the sources of the backbone's weights.
pub fn weights(backbone: &Backbone, channels: usize) -> Weights<Source> {
    naming(backbone).weights(backbone, channels)
}

fn naming(backbone: &Backbone) -> Naming {
    Naming::Timm { stem_only: backbone.stages.is_empty() }
}
