"""Makes the models that all peers run: the same weights in each peer's format, an input and PyTorch's logits.

    python models.py FOLDER [vit_tiny_patch16_224 vit_base_patch16_224]

FOLDER/NAME/ gets model.safetensors and config.json (timm's, for vitraux and PyTorch), hf.safetensors (candle), model.onnx with a
free batch (ONNX Runtime, OpenVINO), model.ncnn.param and .bin (batch 1), input.bin [8, 3, 224, 224] and logits.bin [8, 1000], f32.

Weights are timm's initialisation with biases, norms and head disturbed, so that none of them could be left out unnoticed.
"""
import json, os, shutil, subprocess, sys
import timm, torch
from safetensors.torch import save_file


def disturbed(name):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith(".bias"):
                value.add_(torch.randn(value.shape, generator=noise) * 0.05)
            elif "norm" in key:
                value.add_(torch.randn(value.shape, generator=noise) * 0.1)
            elif key == "head.weight":
                value.copy_(torch.randn(value.shape, generator=noise) * 0.05)
            elif "qkv" in key or "fc1" in key:
                value.mul_(2.0)  # wider than the initialisation: attention that is not uniform
    return model


def in_transformers_names(state, depth):
    """What candle reads."""
    renamed = {"vit.embeddings.cls_token": state["cls_token"], "vit.embeddings.position_embeddings": state["pos_embed"]}
    for kind in ("weight", "bias"):
        renamed[f"vit.embeddings.patch_embeddings.projection.{kind}"] = state[f"patch_embed.proj.{kind}"]
        renamed[f"vit.layernorm.{kind}"] = state[f"norm.{kind}"]
        renamed[f"classifier.{kind}"] = state[f"head.{kind}"]
        for i in range(depth):
            theirs, ours = f"blocks.{i}.", f"vit.encoder.layer.{i}."
            for name, value in zip(("query", "key", "value"), state[theirs + f"attn.qkv.{kind}"].chunk(3)):
                renamed[ours + f"attention.attention.{name}.{kind}"] = value
            for name, source in (("attention.output.dense", "attn.proj"), ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"),
                                 ("layernorm_before", "norm1"), ("layernorm_after", "norm2")):
                renamed[ours + f"{name}.{kind}"] = state[theirs + f"{source}.{kind}"]
    return {key: value.contiguous().clone() for key, value in renamed.items()}


def chunked_attention(self, x, *_, **__):
    """timm's reshape of qkv to five axes is more than pnnx converts."""
    b, n, c = x.shape
    q, k, v = (t.reshape(b, n, self.num_heads, c // self.num_heads).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
    return self.proj(torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


def make(name, folder):
    os.makedirs(folder, exist_ok=True)
    inside = lambda file: os.path.join(folder, file)
    model = disturbed(name)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, inside("model.safetensors"))
    save_file(in_transformers_names(state, len(model.blocks)), inside("hf.safetensors"))
    with open(inside("config.json"), "w") as file:
        json.dump({"architecture": name}, file)
    x = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    x.numpy().tofile(inside("input.bin"))
    with torch.no_grad():
        model(x).numpy().tofile(inside("logits.bin"))
    timm.layers.set_fused_attn(False)  # plain MatMul and Softmax, which every reader of ONNX knows
    plain = timm.create_model(name).eval()
    plain.load_state_dict(state)
    torch.onnx.export(plain, (x[:2],), inside("model.onnx"), opset_version=18, dynamo=True, external_data=False, input_names=["pixel_values"],
                      output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("b", min=1, max=64)},))
    pnnx = os.path.join(os.path.dirname(sys.executable), "pnnx")
    if os.path.exists(pnnx):
        timm.models.vision_transformer.Attention.forward = chunked_attention
        torch.jit.trace(model, x[:1]).save(inside("traced.pt"))
        subprocess.run([pnnx, "traced.pt", "inputshape=[1,3,224,224]", "fp16=0"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for ending in ("param", "bin"):
            shutil.move(inside(f"traced.ncnn.{ending}"), inside(f"model.ncnn.{ending}"))
        for file in os.listdir(folder):
            if file.startswith("traced"):
                os.remove(inside(file))


if __name__ == "__main__":
    for name in sys.argv[2:] or ["vit_tiny_patch16_224", "vit_base_patch16_224"]:
        # A process for each: the exports change timm.
        if len(sys.argv) == 3:
            make(name, os.path.join(sys.argv[1], name))
        else:
            subprocess.run([sys.executable, __file__, sys.argv[1], name], check=True)
