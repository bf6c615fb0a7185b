"""A peer that waits for work: python worker.py PEER FOLDER; for each line with a batch size it runs that many images and answers
with the milliseconds and the largest difference of the logits from PyTorch's. run.py starts these.

PEER: ort-cpu, ort-webgpu, ncnn-cpu, ncnn-vulkan, openvino, torch-cpu, torch-cuda-MODE-DTYPE (MODE eager or compile, DTYPE f32 or f16)
"""
import os, sys, time
import numpy as np

peer, folder = sys.argv[1:]
inside = lambda file: os.path.join(folder, file)
inputs = np.fromfile(inside("input.bin"), np.float32).reshape(-1, 3, 224, 224)
expected = np.fromfile(inside("logits.bin"), np.float32).reshape(-1, 1000)
cores = os.cpu_count()


def ort():
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    provider = "WebGpuExecutionProvider" if peer == "ort-webgpu" else "CPUExecutionProvider"
    session = onnxruntime.InferenceSession(inside("model.onnx"), options, providers=[provider])
    assert session.get_providers()[0] == provider, session.get_providers()
    return f"ONNX Runtime {onnxruntime.__version__}", lambda x: session.run(None, {"pixel_values": x})[0]


def ncnn():
    import ncnn
    net = ncnn.Net()
    net.opt.num_threads = cores
    net.opt.use_vulkan_compute = peer == "ncnn-vulkan"
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    if peer == "ncnn-vulkan":
        net.set_vulkan_device(0)
    assert net.load_param(inside("model.ncnn.param")) == 0 and net.load_model(inside("model.ncnn.bin")) == 0

    def one(image):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image).clone())
        return np.array(extractor.extract("out0")[1]).reshape(1000)

    return f"ncnn {ncnn.__version__}", lambda x: np.stack([one(image) for image in x])  # it has no batch axis


def openvino():
    import openvino
    settings = {"INFERENCE_NUM_THREADS": cores, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    model = core.compile_model(core.read_model(inside("model.onnx")), "CPU", settings)
    request = model.create_infer_request()
    return f"OpenVINO {openvino.__version__.split('-')[0]}", lambda x: request.infer([x])[model.output(0)].copy()


def torch():
    import timm, torch
    from safetensors.torch import load_file
    _, device, *rest = peer.split("-")
    mode, dtype = rest or ["eager", "f32"]
    torch.set_num_threads(cores)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = timm.create_model(os.path.basename(folder.rstrip("/"))).eval()
    model.load_state_dict(load_file(inside("model.safetensors")))
    dtype = {"f32": torch.float32, "f16": torch.float16}[dtype]
    model = model.to(device, dtype)
    if mode == "compile":
        model = torch.compile(model, mode="max-autotune-no-cudagraphs", dynamic=False)

    def run(x):
        with torch.inference_mode():
            return model(torch.from_numpy(x).to(device, dtype)).float().cpu().numpy()

    return f"PyTorch {torch.__version__} {mode}", run


name, run = {"ort": ort, "ncnn": ncnn, "openvino": openvino, "torch": torch}[peer.split("-")[0]]()
print(f"ready {name}", flush=True)
for line in sys.stdin:
    x = np.resize(inputs, (int(line), 3, 224, 224))
    start = time.perf_counter()
    logits = run(x)
    elapsed = time.perf_counter() - start
    difference = np.abs(logits - np.resize(expected, logits.shape)).max()
    print(f"answer {elapsed * 1e3} {difference}", flush=True)
