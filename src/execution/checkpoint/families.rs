//! Table of supported families, for users. Tests check it against the readers and the fixtures.

/// A family of models.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Common name.
    pub name: &'static str,
    /// timm architectures; `*` matches anything.
    pub timm: &'static [&'static str],
    /// transformers classes.
    pub transformers: &'static [&'static str],
    /// Example arguments of `--model`.
    pub examples: &'static [&'static str],
}

/// All families. A model belongs to the first one whose names match.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "DeiT, DeiT III",
        timm: &["deit_*", "deit3_*"],
        transformers: &["DeiTModel", "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"],
        examples: &["facebook/deit-base-distilled-patch16-224", "timm/deit3_base_patch16_224.fb_in22k_ft_in1k"],
    },
    Family {
        name: "DINOv2, with registers",
        timm: &["vit_*_dinov2"],
        transformers: &["Dinov2Model", "Dinov2ForImageClassification", "Dinov2WithRegistersModel", "Dinov2WithRegistersForImageClassification"],
        examples: &[
            "facebook/dinov2-base",
            "facebook/dinov2-with-registers-base",
            "timm/vit_giant_patch14_dinov2.lvd142m",
            "dinov2_vits14_pretrain.pth",
        ],
    },
    Family {
        name: "DINOv3",
        timm: &["vit_*_dinov3*"],
        transformers: &["DINOv3ViTModel"],
        examples: &["facebook/dinov3-vits16-pretrain-lvd1689m", "timm/vit_base_patch16_dinov3.lvd1689m"],
    },
    Family {
        name: "TIPSv2, images",
        timm: &["vit_*_tipsv2"],
        transformers: &["Tipsv2Model", "Tipsv2VisionModel"],
        examples: &["google/tipsv2-b14", "timm/vit_base_patch14_reg1_tipsv2.webli"],
    },
    Family {
        name: "CLIP, images and texts",
        timm: &["vit_*_clip_*"],
        transformers: &[
            "CLIPModel",
            "CLIPVisionModel",
            "CLIPVisionModelWithProjection",
            "CLIPTextModel",
            "CLIPTextModelWithProjection",
            "CLIPForImageClassification",
        ],
        examples: &["openai/clip-vit-base-patch32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "timm/vit_large_patch14_clip_quickgelu_224.openai"],
    },
    Family {
        name: "SigLIP and SigLIP 2, images and texts",
        timm: &["vit_*_siglip_*"],
        transformers: &[
            "SiglipModel",
            "SiglipVisionModel",
            "SiglipTextModel",
            "SiglipForImageClassification",
            "Siglip2Model",
            "Siglip2VisionModel",
            "Siglip2TextModel",
            "Siglip2ForImageClassification",
        ],
        examples: &[
            "google/siglip-so400m-patch14-384",
            "google/siglip2-base-patch16-224",
            "google/siglip2-base-patch16-naflex",
            "timm/vit_so400m_patch14_siglip_384.webli",
        ],
    },
    Family {
        name: "BEiT, BEiT v2, BEiT-3",
        timm: &["beit_*", "beitv2_*", "beit3_*"],
        transformers: &["BeitModel", "BeitForImageClassification"],
        examples: &["microsoft/beit-base-patch16-224", "timm/beitv2_base_patch16_224.in1k_ft_in22k_in1k"],
    },
    Family {
        name: "EVA, EVA-02",
        timm: &["eva_giant_*", "eva02_*"],
        transformers: &[],
        examples: &["timm/eva02_tiny_patch14_224.mim_in22k", "timm/eva02_base_patch16_clip_224.merged2b"],
    },
    Family {
        name: "Perception Encoder",
        timm: &["vit_pe_*"],
        transformers: &[],
        examples: &["timm/vit_pe_core_base_patch16_224.fb", "timm/vit_pe_spatial_small_patch16_512.fb"],
    },
    Family {
        name: "MobileCLIP-B",
        timm: &["vit_base_mci_*"],
        transformers: &[],
        examples: &["apple/mobileclip_b_timm", "apple/mobileclip_b_lt_timm"],
    },
    Family {
        name: "AIMv2, images",
        timm: &["aimv2_*"],
        transformers: &["Aimv2VisionModel", "Aimv2Model"],
        examples: &["apple/aimv2-large-patch14-224", "timm/aimv2_large_patch14_224.apple_pt"],
    },
    Family {
        name: "Hybrids: ResNet and ViT",
        timm: &["vit_*_r26_*", "vit_*_r50_*", "vit_*_r_s16_*"],
        transformers: &["ViTHybridModel", "ViTHybridForImageClassification"],
        examples: &["google/vit-hybrid-base-bit-384", "timm/vit_small_r26_s32_224.augreg_in21k_ft_in1k"],
    },
    Family {
        name: "MAE, MSN, I-JEPA",
        timm: &[],
        transformers: &[
            "ViTMAEModel",
            "ViTMAEForPreTraining",
            "ViTMSNModel",
            "ViTMSNForImageClassification",
            "IJepaModel",
            "IJepaForImageClassification",
        ],
        examples: &["facebook/vit-mae-base", "facebook/vit-msn-base", "facebook/ijepa_vith14_1k"],
    },
    Family {
        name: "ViT: AugReg, in21k, FlexiViT",
        timm: &["vit_*", "flexivit_*", "eva_large_*", "test_vit*"],
        transformers: &["ViTModel", "ViTForImageClassification"],
        examples: &["google/vit-base-patch16-224", "google/vit-base-patch16-224-in21k", "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k"],
    },
    Family {
        name: "DPT: depth, segmentation",
        timm: &[],
        transformers: &["DPTForDepthEstimation", "DPTForSemanticSegmentation"],
        examples: &["Intel/dpt-large", "Intel/dpt-hybrid-midas", "Intel/dpt-large-ade", "facebook/dpt-dinov2-small-nyu"],
    },
    Family {
        name: "Depth Anything, versions 1 and 2",
        timm: &[],
        transformers: &["DepthAnythingForDepthEstimation"],
        examples: &[
            "LiheYoung/depth-anything-small-hf",
            "depth-anything/Depth-Anything-V2-Small-hf",
            "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
        ],
    },
    Family { name: "Google's original ViT and R+ViT", timm: &[], transformers: &[], examples: &["R50_ViT-B_16.npz"] },
    Family {
        name: "Transformer encoder (torch.nn.TransformerEncoder)",
        timm: &[],
        transformers: &[],
        examples: &["a folder with \"model_type\": \"torch_transformer_encoder\""],
    },
];
