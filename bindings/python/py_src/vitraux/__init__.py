"""Vision Transformers on any GPU, or on the CPU.

>>> import vitraux
>>> model = vitraux.load("digits", device="cpu")
>>> model.classify("handwritten-3.png", top_k=1)
[{'label': '3', 'score': 0.96...}]
"""

import os
import sys

from . import _vitraux
from ._vitraux import Error, Model, __version__

__all__ = ["Error", "Model", "__version__", "load"]


def load(model, device="auto", precision="f32", progress=True):
    """Load a model.

    model: a model on the Hugging Face hub ("owner/name" or "owner/name@revision"), a folder with config.json and model.safetensors, an npz
        file from google-research, or "digits", which is built in.
    device: "auto" (a hardware GPU, else the CPU), "cpu", "gpu", "cuda:1" (by CUDA's number), a PCI bus ID such as "0000:01:00.0", or the number
        or a part of the name of an adapter.
    precision: of the weights: "f32", "f16", "bf16", "int8", or "auto", the fastest that stays within 3 % of f32.
    progress: show downloads on standard error if it is a terminal; or a function of a file's name, the bytes that have arrived, and all its
        bytes; or False.

    Returns a Model. Raises Error.
    """
    if progress is True:
        progress = _show if sys.stderr is not None and sys.stderr.isatty() else None
    elif progress is False:
        progress = None
    return _vitraux.load(os.fspath(model), device, precision, progress)


def _show(file, here, size):
    end = "\n" if here >= size else ""
    print(f"\r{file}: {here / 2**20:.0f} of {size / 2**20:.0f} MiB", end=end, file=sys.stderr, flush=True)
