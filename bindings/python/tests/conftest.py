from pathlib import Path

import pytest

import vitraux

ROOT = Path(__file__).parents[3]
SAMPLES = sorted((ROOT / "examples/digits/samples").glob("*.png"))


@pytest.fixture(scope="session")
def model():
    return vitraux.load("digits", device="cpu")


@pytest.fixture(scope="session")
def clip():
    return vitraux.load(ROOT / "tests/fixtures/cases/hf_clip_text_full", device="cpu")


@pytest.fixture(scope="session")
def samples():
    assert len(SAMPLES) > 3
    return SAMPLES
