"""Drives `vitraux serve` with Triton's client for HTTP, unchanged.

Arguments: the server's URL, a folder of image files, and a folder with what the program itself writes about them: the
pixel values (`vitraux preprocess`) and the outputs (`vitraux forward`).
"""

import asyncio
import base64
import json
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import tritonclient.http
import tritonclient.http.aio
from safetensors.numpy import load_file
from tritonclient.utils import InferenceServerException

url, images, written = sys.argv[1].removeprefix("http://").rstrip("/"), Path(sys.argv[2]), Path(sys.argv[3])
files = sorted(images.iterdir())
pixel_values = load_file(written / "pixels.safetensors")["pixel_values"]
want = load_file(written / "outputs.safetensors")
client = tritonclient.http.InferenceServerClient(url, concurrency=4, network_timeout=60, connection_timeout=60)

# What the server is.
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("digits") and client.is_model_ready("digits", "1") and not client.is_model_ready("digits", "2")
assert not client.is_model_ready("other")
server = client.get_server_metadata()
assert server["name"] == "vitraux" and "binary_tensor_data" in server["extensions"], server
metadata = client.get_model_metadata("digits")
assert [(tensor["name"], tensor["datatype"], tensor["shape"][1:]) for tensor in metadata["inputs"]] == [
    ("pixel_values", "FP32", list(pixel_values.shape[1:]))
], metadata
assert client.get_model_config("digits")["max_batch_size"] == 32
assert [model["name"] for model in client.get_model_repository_index()] == ["digits"]


def tensor(values, binary):
    given = tritonclient.http.InferInput("pixel_values", values.shape, "FP32")
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def wanted(names, binary, **options):
    return [tritonclient.http.InferRequestedOutput(name, binary_data=binary, **options) for name in names]


# Pixel values, in JSON and as bytes, give the program's outputs to the bit.
names = ["logits", "probabilities", "features", "hidden.1", "attn.0"]
for binary_in in [False, True]:
    for binary_out in [False, True]:
        result = client.infer("digits", [tensor(pixel_values, binary_in)], outputs=wanted(names, binary_out), request_id="7")
        assert result.get_response()["id"] == "7"
        for name in names:
            got = result.as_numpy(name)
            assert got.dtype == numpy.float32 and got.shape == want[name].shape and (got == want[name]).all(), name
# Without outputs, those of the metadata.
result = client.infer("digits", [tensor(pixel_values, True)])
assert [output["name"] for output in result.get_response()["outputs"]] == [output["name"] for output in metadata["outputs"]]
assert (result.as_numpy("logits") == want["logits"]).all()
# Compressed.
for algorithm in ["gzip", "deflate"]:
    result = client.infer(
        "digits", [tensor(pixel_values, True)], request_compression_algorithm=algorithm, response_compression_algorithm=algorithm
    )
    assert (result.as_numpy("logits") == want["logits"]).all()

# Classification.
result = client.infer("digits", [tensor(pixel_values, True)], outputs=wanted(["probabilities"], True, class_count=2))
classes = result.as_numpy("probabilities")
for row, probabilities in zip(classes, want["probabilities"]):
    best = int(probabilities.argmax())
    score, index, label = row[0].decode().split(":")
    assert (numpy.float32(score), int(index), label) == (probabilities[best], best, str(best)), row

# Image files and levels.
encoded = numpy.array([file.read_bytes() for file in files], dtype=object)
for binary in [False, True]:
    given = tritonclient.http.InferInput("image", encoded.shape, "BYTES")
    data = encoded if binary else numpy.array([base64.b64encode(file) for file in encoded], dtype=object)
    given.set_data_from_numpy(data, binary_data=binary)
    result = client.infer("digits", [given])
    assert (result.as_numpy("logits") == want["logits"]).all()
levels = numpy.zeros((1, 8, 8, 3), dtype=numpy.uint8)
given = tritonclient.http.InferInput("image", levels.shape, "UINT8")
given.set_data_from_numpy(levels)
assert client.infer("digits", [given]).as_numpy("logits").shape == (1, 10)

# Mistakes are errors that say what was expected.
mistakes = [
    ("other", [tensor(pixel_values, True)], None, "expected one of the models"),
    ("digits", [tensor(pixel_values[:, :, :5], True)], None, "patches"),
    ("digits", [tensor(pixel_values, True)], wanted(["logit"], True), "logit"),
    ("digits", [tensor(numpy.full_like(pixel_values, numpy.nan), True)], None, "finite"),
    ("digits", [tensor(numpy.concatenate([pixel_values[:1]] * 100), True)], None, "at most 64 images"),
]
for model, inputs, outputs, message in mistakes:
    try:
        client.infer(model, inputs, outputs=outputs)
    except InferenceServerException as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)


# Many requests at a time, of which each gets the answer to its own. A client is of one thread.
own = threading.local()


def one(i):
    if not hasattr(own, "client"):
        own.client = tritonclient.http.InferenceServerClient(url)
    i %= len(files)
    return i, own.client.infer("digits", [tensor(pixel_values[i : i + 1], i % 2 == 0)]).as_numpy("logits")


with ThreadPoolExecutor(4) as pool:
    for i, logits in pool.map(one, range(200)):
        numpy.testing.assert_allclose(logits, want["logits"][i : i + 1], rtol=0, atol=2e-5)
for request in [client.async_infer("digits", [tensor(pixel_values, True)]) for _ in range(8)]:
    assert (request.get_result().as_numpy("logits") == want["logits"]).all()


async def asynchronous():
    async with tritonclient.http.aio.InferenceServerClient(url) as client:
        result = await client.infer("digits", [tensor(pixel_values, True)])
        assert (result.as_numpy("logits") == want["logits"]).all()


asyncio.run(asynchronous())
statistics = client.get_inference_statistics("digits")["model_stats"][0]
requests = statistics["inference_stats"]["success"]["count"]
assert statistics["inference_count"] > requests > 200 and statistics["inference_stats"]["queue"]["count"] == requests, statistics

# The description of the API is one that tools can read.
from openapi_spec_validator import validate

validate(json.load(urllib.request.urlopen(f"http://{url}/openapi.json")))
# Prometheus reads the metrics.
from prometheus_client.openmetrics.parser import text_string_to_metric_families

metrics = {family.name: family for family in text_string_to_metric_families(urllib.request.urlopen(f"http://{url}/metrics").read().decode())}
for name in ["requests", "request_duration_seconds", "queue_images", "queue_wait_seconds", "decode_seconds", "device_seconds", "batch_images"]:
    assert metrics[f"vitraux_{name}"].samples, name
print(f"tritonclient, {len(files)} images: outputs as the program's to the bit, in JSON and as bytes")
