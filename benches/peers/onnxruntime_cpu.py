"""ViT-B/16 at batch 1 on the CPU: vitraux beside ONNX Runtime, same weights, same cores, one run.

    pip install torch timm onnx onnxscript onnxruntime safetensors numpy pillow
    cargo build --release && python benches/peers/onnxruntime_cpu.py

Makes a model of timm with random weights in a temporary folder, exports it to ONNX, and alternates between the two
programs three times. vitraux' milliseconds are those that `classify --format json` prints for each picture after the
first two; they hold preprocessing as well.
"""
import json, os, statistics, subprocess, sys, tempfile, time
import numpy as np, onnxruntime, timm, torch
from PIL import Image
from safetensors.torch import save_file

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
program = os.path.join(root, "target", "release", "vitraux")
cores = os.cpu_count()
folder = tempfile.mkdtemp()
torch.manual_seed(0)
model = timm.create_model("vit_base_patch16_224").eval()
torch.nn.init.normal_(model.head.weight, std=0.05)
save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, os.path.join(folder, "model.safetensors"))
json.dump({"architecture": "vit_base_patch16_224", "pretrained_cfg": {"input_size": [3, 224, 224], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0}},
          open(os.path.join(folder, "config.json"), "w"))
pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
picture = os.path.join(folder, "picture.png")
Image.fromarray(pixels).save(picture)
x = ((pixels.astype(np.float32) / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None]
timm.layers.set_fused_attn(False)
onnx = os.path.join(folder, "model.onnx")
torch.onnx.export(model, (torch.tensor(x),), onnx, opset_version=18, dynamo=True, external_data=False, input_names=["x"], output_names=["y"])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = cores
session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

def peer():
    for _ in range(2):
        y = session.run(None, {"x": x})[0]
    times = []
    for _ in range(10):
        start = time.perf_counter()
        session.run(None, {"x": x})
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times), y

def ours():
    output = subprocess.run([program, "classify", "--model", folder, "--device", "cpu", "--format", "json", "--top", "1000"] + [picture] * 12,
                            capture_output=True, text=True, check=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    y = np.zeros((1, 1000), np.float32)
    for entry in lines[0]["top"]:
        y[0, entry["index"]] = entry["logit"]
    return statistics.median(line["milliseconds"] for line in lines[2:]), y

rounds = [(peer(), ours()) for _ in range(3)]
theirs, mine = (statistics.median(median for median, _ in column) for column in zip(*rounds))
difference = np.abs(rounds[0][0][1] - rounds[0][1][1]).max()
print(f"cores {cores}, onnxruntime {onnxruntime.__version__}: {theirs:.1f} ms; vitraux: {mine:.1f} ms; ratio {mine / theirs:.2f}")
print(f"rounds: {[(round(a[0], 1), round(b[0], 1)) for a, b in rounds]}; largest difference of the logits {difference:.1e}")
