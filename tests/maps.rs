//! What a model looks at: rows of attention, rollout and principal components, against what follows from its taps.

use crate::support::compare::largest_difference;
use crate::support::{cases::Rng, gpu, path, reference};
use vitraux::config::{MapKind, Size};
use vitraux::{Checkpoint, Device, Model, Session, Tensor};

/// Models with a class token, with registers, without either, with rotary positions, and after a convolutional network.
const MODELS: [&str; 5] = ["timm_vit_tiny", "hf_dinov2_registers", "timm_gap_nocls_noqkvbias", "hf_dinov3_vit", "timm_hybrid_stem_only"];

/// A model on a device, and two images for it.
fn model(name: &str, device: &Device) -> (Session, Tensor) {
    let checkpoint = Checkpoint::open(path("tests/fixtures/cases").join(name)).expect("a checkpoint");
    let session = Model::builder(checkpoint).device(device.clone()).load_blocking().expect("a model").session();
    let patches = session.model().config().patches().expect("it takes images");
    let shape = [2, patches.channels, patches.image[0], patches.image[1]];
    let pixel_values = Tensor::new(shape, Rng::new(name).units(shape.iter().product())).expect("a tensor");
    (session, pixel_values)
}

#[test]
fn attention_rows_match_the_full_matrix() {
    for (name, device) in MODELS.iter().flat_map(|name| gpu::devices().into_iter().map(move |device| (name, device))) {
        let (mut session, input) = model(name, &device);
        let (depth, heads) = (session.model().config().depth, session.model().config().heads);
        let tokens = session.model().config().tokens(session.model().config().native_size()).expect("a number");
        let last = format!("attn.{}", depth - 1);
        let names = ["attn.0".to_owned(), last.clone(), "attn.0.2".to_owned(), format!("{last}.0"), format!("{last}.{}", tokens - 1)];
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let outputs = session.forward_blocking(&input, &wanted).expect("outputs");
        for (whole, row, query) in [(&names[0], &names[2], 2), (&last, &names[3], 0), (&last, &names[4], tokens - 1)] {
            assert_eq!(outputs[row].shape(), [2, heads, 1, tokens], "{name}: {row}");
            let (whole, row) = (outputs[whole].values(), outputs[row].values());
            let expected: Vec<f32> = whole.chunks(tokens * tokens).flat_map(|head| head[query * tokens..][..tokens].to_vec()).collect();
            assert_eq!(*row, *expected, "{name} on {device}: row {query}");
        }
    }
}

#[test]
fn rollout_equals_the_product_of_block_attentions() {
    for (name, device) in MODELS.iter().flat_map(|name| gpu::devices().into_iter().map(move |device| (name, device))) {
        let (mut session, input) = model(name, &device);
        let (depth, heads) = (session.model().config().depth, session.model().config().heads);
        let taps: Vec<String> = (0..depth).map(|i| format!("attn.{i}")).collect();
        let wanted: Vec<&str> = taps.iter().map(String::as_str).chain(["rollout", "rollout.1"]).collect();
        let outputs = session.forward_blocking(&input, &wanted).expect("outputs");
        let tokens = outputs["rollout"].shape()[1];
        assert_eq!((outputs["rollout"].shape(), outputs["rollout.1"].shape()), (&[2, tokens, tokens][..], &[2, tokens][..]), "{name}");
        for image in 0..2 {
            let mut reached: Vec<f64> = (0..tokens * tokens).map(|i| if i / tokens == i % tokens { 1.0 } else { 0.0 }).collect();
            for tap in &taps {
                let values = outputs[tap].values();
                let own: Vec<&[f32]> = values.chunks(tokens * tokens).skip(image * heads).take(heads).collect();
                let passes = |i: usize, k: usize| {
                    let mean = own.iter().map(|head| f64::from(head[i * tokens + k])).sum::<f64>() / heads as f64;
                    0.5 * mean + if i == k { 0.5 } else { 0.0 }
                };
                reached =
                    (0..tokens * tokens).map(|at| (0..tokens).map(|k| passes(at / tokens, k) * reached[k * tokens + at % tokens]).sum()).collect();
            }
            let expected: Vec<f32> = reached.iter().map(|value| *value as f32).collect();
            let got = &outputs["rollout"].values()[image * tokens * tokens..][..tokens * tokens];
            // Each block rounds sums of weights, which are at most 1, a few times.
            let difference = largest_difference(got, &expected);
            assert!(difference <= 4.0 * f32::EPSILON * depth as f32, "{name} on {device}: off by {difference:e}");
            assert_eq!(outputs["rollout.1"].values()[image * tokens..][..tokens], got[tokens..2 * tokens], "{name} on {device}");
        }
    }
}

#[test]
fn pca_colours_match_the_reference() {
    for (name, device) in MODELS.iter().flat_map(|name| gpu::devices().into_iter().map(move |device| (name, device))) {
        let (mut session, input) = model(name, &device);
        let outputs = session.forward_blocking(&input, &["tokens", "pca"]).expect("outputs");
        let &[_, tokens, width] = outputs["tokens"].shape() else { panic!("{name}: tokens") };
        let first = session.model().config().prefix_tokens;
        let patches = tokens - first;
        assert_eq!(outputs["pca"].shape(), [2, patches, 3], "{name}");
        let identity: Vec<f64> = (0..width * width).map(|i| if i / width == i % width { 1.0 } else { 0.0 }).collect();
        for image in 0..2 {
            let own = reference::wide(&outputs["tokens"].values()[(image * tokens + first) * width..][..patches * width]);
            let mean: Vec<f64> = (0..width).map(|c| own.iter().skip(c).step_by(width).sum::<f64>() / patches as f64).collect();
            let centred: Vec<f64> = own.iter().enumerate().map(|(i, value)| value - mean[i % width]).collect();
            let expected: Vec<f32> = reference::colours(&identity, &centred, width).iter().map(|value| *value as f32).collect();
            let difference = largest_difference(&outputs["pca"].values()[image * patches * 3..][..patches * 3], &expected);
            println!("{name} on {device}: {difference:e}");
            // Less than one of 255 levels.
            assert!(difference <= 1.0 / 512.0, "{name} on {device}: off by {difference:e}");
        }
    }
}

#[test]
fn map_lookup_depends_on_name_and_size() {
    let (session, _) = model("timm_vit_tiny", &Device::cpu());
    let config = session.model().config();
    let size = config.native_size();
    let tokens = config.tokens(size).expect("a number");
    let map = config.map(size, "attn.0").expect("a map");
    assert_eq!(map.kind, MapKind::Attention { heads: config.heads, queries: tokens, first: 1 });
    assert_eq!(map.grid.iter().product::<usize>() + 1, tokens);
    assert_eq!(config.map(size, "rollout.0").map(|map| map.kind), Some(MapKind::Attention { heads: 1, queries: 1, first: 1 }));
    assert_eq!(config.map(size, "pca").map(|map| map.kind), Some(MapKind::Colours));
    let beyond = [format!("attn.{}", config.depth), format!("attn.0.{tokens}"), format!("rollout.{tokens}"), "logits".to_owned()];
    for name in beyond {
        assert_eq!(config.map(size, &name), None, "{name}");
    }
    assert_eq!(config.map(Size::Sequence(5), "pca"), None);
    let (mut session, input) = model("timm_vit_tiny", &Device::cpu());
    let error = session.forward_blocking(&input, &["attn.0.9999"]).expect_err("there is no such token").to_string();
    assert!(error.contains("attn.0.9999") && error.contains("rollout, pca"), "{error}");
}
