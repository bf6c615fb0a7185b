"""Models of timm, transformers and google-research: the results that their libraries gave, and those of the program."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import vitraux

CASES = Path(__file__).parents[3] / "tests/fixtures/cases"


def path(case: Path) -> Path:
    """Returns the path to open: the folder, or the only file of a model without a configuration."""
    if any((case / name).exists() for name in ("config.json", "open_clip_config.json")):
        return case
    return next(file for file in case.iterdir() if file.suffix in (".npz", ".pth"))


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_results_are_those_of_the_library(case):
    model = vitraux.load(path(case), device="cpu")
    for run in json.loads((case / "case.json").read_text())["runs"]:
        with safe_open(case / run["expected"], "numpy") as file:
            want = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}
        given = want.get("input", want.get("pixel_values"))
        if given is None or "spatial_shapes" in want:
            pytest.skip("the package has no text towers and no padded patches yet")
        names = [name for name in model.outputs if name in want]
        assert names or "input_ids" in want
        if not names:
            continue
        got = model.forward(given, outputs=names, key_padding_mask=want.get("key_padding_mask"))
        for name in names:
            assert got[name].shape == want[name].shape
            bound = run["atol_f32"].get(name, 1e-5)
            assert np.abs(got[name] - want[name]).max() <= bound, f"{run['name']}: {name}"


@pytest.mark.skipif("VITRAUX_PROGRAM" not in os.environ, reason="tests/bindings names the program")
@pytest.mark.parametrize("name", ["hf_dinov2_registers_cls", "timm_vit_tiny", "hf_clip_vision_proj", "jax_augreg"])
def test_results_are_those_of_the_program_to_the_bit(name, tmp_path):
    case = CASES / name
    run = json.loads((case / "case.json").read_text())["runs"][0]
    with safe_open(case / run["expected"], "numpy") as file:
        pixels = file.get_tensor("pixel_values").astype(np.float32)
    save_file({"pixel_values": np.ascontiguousarray(pixels)}, tmp_path / "in.safetensors")
    command = [os.environ["VITRAUX_PROGRAM"], "forward", "--device", "cpu", "--model", path(case)]
    subprocess.run([*command, "--input", tmp_path / "in.safetensors", "--output", tmp_path / "out.safetensors"], check=True)
    want = load_file(tmp_path / "out.safetensors")
    got = vitraux.load(path(case), device="cpu").forward(pixels, outputs=list(want))
    assert want and all(np.array_equal(got[name], want[name]) for name in want)


@pytest.mark.skipif("VITRAUX_PROGRAM" not in os.environ, reason="tests/bindings names the program")
@pytest.mark.parametrize("name", ["hf_vit_cls", "timm_vit_tiny", "hf_clip_vision_proj"])
def test_images_are_preprocessed_as_by_the_program(name, tmp_path):
    image = CASES / name / "image.png"
    command = [os.environ["VITRAUX_PROGRAM"], "preprocess", "--model", CASES / name, "--output", tmp_path / "out.safetensors", image]
    subprocess.run(command, check=True)
    want = load_file(tmp_path / "out.safetensors")["pixel_values"]
    assert np.array_equal(vitraux.load(CASES / name, device="cpu").preprocess(image), want)
