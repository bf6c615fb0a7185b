"""Writes checkpoints with random weights, for benches of models that `vitraux bench --architecture` has no name for."""
import json, math, random, struct


def write(path, shapes):
    """Writes a safetensors file with the tensors of `shapes`, pairs of a name and a shape. Norms' weights are about 1, other values about 0."""
    generator = random.Random(0)
    around = lambda centre: struct.pack("<65536f", *(generator.gauss(centre, 0.02) for _ in range(65536)))
    small, ones = around(0), around(1)
    entries, end = {}, 0
    for name, shape in shapes:
        start, end = end, end + 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name, entry in entries.items():
            start, end = entry["data_offsets"]
            values = ones if "norm" in name and name.endswith("weight") else small
            for place in range(start, end, len(values)):
                file.write(values[: end - place])


def linear(name, rows, columns, *kernel):
    """The weight and the bias of a dense layer or a convolution."""
    yield f"{name}.weight", [rows, columns, *kernel]
    yield f"{name}.bias", [rows]


def norm(name, width):
    yield f"{name}.weight", [width]
    yield f"{name}.bias", [width]
