"""The notebook runs."""

import json
from pathlib import Path

from PIL import Image

TOUR = Path(__file__).parents[1] / "examples/tour.ipynb"


def test_every_cell_runs(monkeypatch):
    monkeypatch.chdir(TOUR.parent)
    cells = [cell for cell in json.loads(TOUR.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict = {}
    results = []
    for cell in cells:
        *lines, last = "".join(cell["source"]).splitlines()
        exec("\n".join(lines), names)
        results.append(eval(last, names))
    assert results[1][0] == ("handwritten-3.png", {"label": "3", "score": results[1][0][1]["score"]})
    assert isinstance(results[3], Image.Image)
