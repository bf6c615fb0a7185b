"""The embedder for engines, without an engine."""

import pickle

import numpy as np

from vitraux.cluster import Embedder


def test_batches_get_vectors_and_errors(model, samples):
    embedder = pickle.loads(pickle.dumps(Embedder("digits", device="cpu")))
    batch = {"image": np.array([samples[0].read_bytes(), b"broken"], dtype=object), "id": np.array([7, 8])}
    done = embedder(batch)
    assert sorted(done) == ["embedding", "error", "id"]
    assert np.array_equal(done["embedding"][:1], model.embed(samples[0])) and np.isnan(done["embedding"][1]).all()
    assert done["error"][0] == "" and done["error"][1] and done["id"].tolist() == [7, 8]
    assert "image" in batch


def test_arrays_of_paths(model, samples):
    paths = np.array([str(path) for path in samples[:2]])
    done = Embedder("digits", device="cpu")({"image": paths})
    assert np.array_equal(done["embedding"], model.embed(samples[:2])) and not done["error"].any()


def test_arrays_of_images_of_one_size(model, samples):
    levels = np.zeros((2, 40, 30, 3), np.uint8)
    done = Embedder("digits", device="cpu", image="pixels", embedding="vector")({"pixels": levels})
    assert np.array_equal(done["vector"], model.embed(levels))
