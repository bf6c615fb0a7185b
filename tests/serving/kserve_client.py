"""Drives `vitraux serve` with KServe's client for HTTP, unchanged. Arguments: as of triton.py."""

import asyncio
import base64
import sys
from pathlib import Path

import httpx
import numpy
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from safetensors.numpy import load_file

url, images, written = sys.argv[1].rstrip("/"), Path(sys.argv[2]), Path(sys.argv[3])
files = sorted(images.iterdir())
pixel_values = load_file(written / "pixels.safetensors")["pixel_values"]
want = load_file(written / "outputs.safetensors")


def request(pixel_values, binary, outputs):
    tensor = InferInput("pixel_values", list(pixel_values.shape), "FP32")
    tensor.set_data_from_numpy(pixel_values, binary_data=binary)
    outputs = [RequestedOutput(name, {"binary_data": binary}) for name in outputs]
    return InferRequest("digits", [tensor], request_id="7", request_outputs=outputs)


async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(url) and await client.is_server_ready(url) and await client.is_model_ready(url, "digits")
    for binary in [False, True]:
        response = await client.infer(url, request(pixel_values, binary, ["logits", "hidden.1"]), model_name="digits")
        assert (response.model_name, response.id) == ("digits", "7"), response
        for output in response.outputs:
            assert (output.as_numpy() == want[output.name]).all(), (output.name, binary)
    # Image files, as a dictionary of the request's JSON.
    data = [base64.b64encode(file.read_bytes()).decode() for file in files]
    tensor = {"name": "image", "shape": [len(files)], "datatype": "BYTES", "data": data}
    response = await client.infer(url, {"inputs": [tensor]}, model_name="digits")
    probabilities = next(output for output in response.outputs if output.name == "probabilities").as_numpy()
    assert (probabilities == want["probabilities"]).all()
    # Many at a time.
    together = [client.infer(url, request(pixel_values[i : i + 1], True, ["logits"]), model_name="digits") for i in range(len(files))]
    for i, response in enumerate(await asyncio.gather(*together)):
        numpy.testing.assert_allclose(response.outputs[0].as_numpy(), want["logits"][i : i + 1], rtol=0, atol=2e-5)
    for model, message in [("digits", "[B, 1, height, width]"), ("other", "expected one of the models")]:
        try:
            await client.infer(url, request(numpy.zeros([1, 3, 4, 4], numpy.float32), True, []), model_name=model)
        except httpx.HTTPStatusError as error:
            assert message in str(error), error
        else:
            raise AssertionError(message)


asyncio.run(main())
print(f"kserve, {len(files)} images: outputs as the program's to the bit, in JSON and as bytes")
