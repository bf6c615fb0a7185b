"""Stubs match the module, and type the programs of users."""

import subprocess
import sys


def test_stubs_match_the_module():
    checked = subprocess.run([sys.executable, "-m", "mypy.stubtest", "vitraux", "--ignore-missing-stub"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


USER = """
import numpy as np
import vitraux
model = vitraux.load("digits", progress=None)
label: str = model.classify("a.png")[0]["label"]
score: float = model.classify(["a.png", b""])[0][0]["score"]
vectors = model.embed([bytearray()])
norm: np.float32 = vectors[0, 0]
rows, errors = model.embed("a.png", return_errors=True)
first: str | None = errors[0]
scores = model.similarity(vectors, model.encode_text(["a cat"]))
best: str = model.classify("a.png", labels=["cat", "dog"], template="a photo of a {}")[0]["label"]
tokens = model.forward_text([[49406, 320, 49407]], ["text.tokens"], attention_mask=np.ones((1, 3), np.int64))["text.tokens"]
model.embed(np.array(["a.png", "b.png"]))
model.features(np.zeros((4, 4), np.uint8), layers=[0, -1])
"""


def test_programs_of_users_pass_strict_checks(tmp_path):
    program = tmp_path / "user.py"
    program.write_text(USER)
    checked = subprocess.run([sys.executable, "-m", "mypy", "--strict", program], capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
