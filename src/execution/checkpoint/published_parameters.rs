//! Parameter counts of published models, computed from their configurations alone.

use super::json::Object;
use super::outline;
use serde_json::{Value, json};
use std::path::Path;

fn parameters(config: &Value) -> usize {
    let root = Object::parse(Path::new("config.json"), config.to_string().as_bytes()).expect("an object");
    outline(&root, None).unwrap_or_else(|error| panic!("{config}: {error}")).parameters()
}

/// Parameter counts as the reference libraries report them, with 1000 classes or none.
#[test]
fn presets_match_published_parameter_counts() {
    for (architecture, classes, expected) in [
        ("vit_tiny_patch16_224", 1000, 5_717_416),
        ("vit_small_patch16_224", 1000, 22_050_664),
        ("vit_base_patch16_224", 1000, 86_567_656),
        ("vit_large_patch16_224", 1000, 304_326_632),
        ("vit_huge_patch14_224", 1000, 632_045_800),
        ("vit_giant_patch14_224", 1000, 1_012_611_432),
        ("vit_gigantic_patch14_224", 1000, 1_844_440_680),
        ("deit_tiny_distilled_patch16_224", 1000, 5_910_800),
        ("deit_base_distilled_patch16_224", 1000, 87_338_192),
        ("deit3_large_patch16_224", 1000, 304_374_760),
        ("vit_so400m_patch14_siglip_224", 0, 427_680_704),
        ("vit_so400m_patch14_siglip_384", 0, 428_225_600),
        ("vit_so150m_patch16_reg4_map_256", 1000, 141_481_064),
        ("vit_base_patch32_clip_224", 1000, 88_225_000),
        ("vit_large_patch14_clip_224", 1000, 304_204_776),
        ("vit_tiny_r_s16_p8_224", 1000, 6_337_704),
        ("vit_small_r26_s32_224", 1000, 36_431_912),
        ("vit_base_r50_s16_384", 1000, 98_950_952),
        ("vit_base_mci_224", 0, 85_955_328),
        ("vit_large_r50_s32_384", 1000, 329_092_136),
        ("vit_small_patch16_dinov3", 0, 21_586_944),
        ("vit_huge_plus_patch16_dinov3", 0, 840_509_440),
    ] {
        let size: usize = architecture.rsplit('_').next().and_then(|size| size.parse().ok()).unwrap_or(224);
        let config = json!({ "architecture": architecture, "num_classes": classes, "pretrained_cfg": { "input_size": [3, size, size] } });
        assert_eq!(parameters(&config), expected, "{architecture}");
    }
    // DINOv2 was trained at 518 pixels. transformers also counts a mask token, which inference does not need.
    for (size, width, depth, heads, gated, expected) in [
        ("small", 384, 12, 6, false, 22_056_576),
        ("base", 768, 12, 12, false, 86_580_480),
        ("large", 1024, 24, 16, false, 304_368_640),
        ("giant", 1536, 40, 24, true, 1_136_480_768),
    ] {
        let timm = json!({ "architecture": format!("vit_{size}_patch14_dinov2"), "num_classes": 0, "pretrained_cfg": { "input_size": [3, 518, 518], "fixed_input_size": true } });
        let transformers = json!({
            "model_type": "dinov2",
            "image_size": 518,
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "use_swiglu_ffn": gated,
        });
        assert_eq!([parameters(&timm), parameters(&transformers)], [expected - width; 2], "DINOv2 {size}");
    }
    let clip_large = json!({
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": 768,
        "vision_config": { "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14 },
    });
    let siglip = json!({
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 384,
    });
    for (config, expected) in [
        (json!({ "model_type": "clip_vision_model", "architectures": ["CLIPVisionModel"] }), 87_456_000),
        (json!({ "model_type": "clip_vision_model", "architectures": ["CLIPVisionModelWithProjection"] }), 87_849_216),
        (clip_large, 303_966_208),
        (siglip, 428_225_600),
        (json!({ "model_type": "vit", "architectures": ["ViTForImageClassification"], "num_labels": 1000 }), 86_567_656),
        (json!({ "model_type": "deit", "architectures": ["DeiTForImageClassificationWithTeacher"], "num_labels": 1000 }), 87_338_192),
        (json!({ "model_type": "dinov3_vit", "num_register_tokens": 4 }), 21_596_544 - 384),
    ] {
        assert_eq!(parameters(&config), expected, "{config}");
    }
}
