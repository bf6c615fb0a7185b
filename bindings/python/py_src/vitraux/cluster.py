"""Embedding in the workers of Ray, Spark and other engines."""

import os

import numpy as np

import vitraux

_models = {}


class Embedder:
    """Adds vectors to batches of images.

    It consists of its arguments only, so that an engine can send it to its workers. There the first batch loads the model, once in each
    process, on the device of that worker.

    model, device, precision: see `vitraux.load`.
    normalize: divide each vector by its Euclidean norm.
    image: name of the column of images: paths, bytes of files, or arrays [height, width, channels]. It is not in the result.
    embedding: name of the new column of vectors; NaN for images that cannot be read.
    error: name of the new column of messages about such images; empty for all others, so that the column is of strings in every part of a result.

    Call it with a batch: a dict of arrays (Ray Data's `batch_format="numpy"`) or a pandas DataFrame. `frames` takes an iterator of
    DataFrames, for Spark's `mapInPandas`.
    """

    def __init__(self, model, *, device="auto", precision="f32", normalize=False, image="image", embedding="embedding", error="error"):
        # Workers have another working directory.
        is_folder = os.path.exists(model) and os.fspath(model) != "digits"
        self.model = os.path.abspath(model) if is_folder else os.fspath(model)
        self.device = device
        self.precision = precision
        self.normalize = normalize
        self.image = image
        self.embedding = embedding
        self.error = error

    def __call__(self, batch):
        vectors, errors = self._loaded().embed(list(batch[self.image]), normalize=self.normalize, return_errors=True)
        errors = [error or "" for error in errors]
        if isinstance(batch, dict):
            rest = {name: column for name, column in batch.items() if name != self.image}
            return {**rest, self.embedding: vectors, self.error: np.array(errors, dtype=object)}
        return batch.drop(columns=self.image).assign(**{self.embedding: list(vectors), self.error: errors})

    def frames(self, frames):
        """Call itself with each DataFrame of an iterator."""
        return map(self, frames)

    def _loaded(self):
        # A fork inherits the models of its parent, which must not use the parent's GPU.
        key = os.getpid(), self.model, self.device, self.precision
        if key not in _models:
            _models[key] = vitraux.load(self.model, device=self.device, precision=self.precision, progress=False)
        return _models[key]
