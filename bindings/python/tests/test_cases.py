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
    runs = json.loads((case / "case.json").read_text())["runs"]
    for run in runs:
        want = load_file(case / run["expected"])
        compared = 0
        for names, forward in [(model.outputs, images), (model.text_outputs, texts)]:
            names = [name for name in names if name in want]
            got = forward(model, want, names) if names else {}
            compared += len(got)
            for name, value in got.items():
                assert value.shape == want[name].shape
                bound = run["atol_f32"].get(name, 1e-5)
                assert np.abs(value - want[name]).max() <= bound, f"{run['name']}: {name}"
        assert compared


def images(model, want, outputs):
    """Runs the image tower on a case's input, unless it has patches that are padded, which the package does not take."""
    if "spatial_shapes" in want:
        return {}
    given, mask = want.get("input", want.get("pixel_values")), want.get("key_padding_mask")
    return model.forward(np.float32(given), outputs=outputs, key_padding_mask=None if mask is None else np.float32(mask))


def texts(model, want, outputs):
    """Runs the text tower on a case's ids."""
    return model.forward_text(want["input_ids"], outputs, attention_mask=want.get("attention_mask"))


@pytest.mark.skipif("VITRAUX_PROGRAM" not in os.environ, reason="tests/bindings names the program")
@pytest.mark.parametrize("name", ["hf_clip_text_full", "hf_siglip_text_full"])
def test_labels_are_ranked_as_by_the_program(name):
    case = CASES / name
    labels, templates, files = ["a cat", "a small dog"], ["a photo of {}", "{}"], [case / "image.png", case / "image2.png"]
    command = [os.environ["VITRAUX_PROGRAM"], "classify", "--device", "cpu", "--model", case, "--format", "json", "--labels", ",".join(labels)]
    for template in templates:
        command += ["--template", template]
    lines = subprocess.run([*command, *files], check=True, capture_output=True, text=True).stdout.splitlines()
    model = vitraux.load(case, device="cpu")
    answers = model.classify(files, labels=labels, template=templates)
    assert len(lines) == len(answers) == 2
    for line, answer in zip(lines, answers):
        assert [(entry["label"], pytest.approx(entry["score"], abs=1e-6)) for entry in answer] == program_classes(json.loads(line)["top"])
    scores = model.similarity(model.embed(files), model.encode_text(labels))
    ranked = model.classify(files, labels=labels, template="{}")
    assert [answer[0]["label"] for answer in ranked] == [labels[best] for best in scores.argmax(axis=1)]
    with pytest.raises(vitraux.Error, match="labels"):
        model.classify(files)


def program_classes(entries):
    return [(entry["label"], entry["probability"]) for entry in entries]


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
