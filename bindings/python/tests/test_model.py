"""The methods of a model, on the built-in one."""

import pickle
from collections import UserList
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitraux


def digit(path: Path) -> str:
    return path.stem.split("-")[-1]


def test_classify_gives_what_transformers_pipeline_gives(model, samples):
    one = model.classify(samples[0], top_k=2)
    assert [sorted(entry) for entry in one] == [["label", "score"]] * 2
    assert one[0]["score"] > one[1]["score"]
    several = model.classify([str(path) for path in samples], top_k=1)
    assert [answer[0]["label"] for answer in several] == [digit(path) for path in samples]
    assert several[0][0] == one[0]
    assert model(samples[0])[:2] == one


def test_images_of_all_forms_give_the_same(model, samples):
    want = model.embed(samples[0])
    picture = Image.open(samples[0])
    assert np.array_equal(model.embed(samples[0].read_bytes()), want)
    assert np.array_equal(model.embed(bytearray(samples[0].read_bytes())), want)
    assert np.array_equal(model.embed(picture), want)
    assert np.array_equal(model.embed(np.asarray(picture)), want)
    assert np.array_equal(model.embed(np.asarray(picture.convert("RGB"))), want)
    pixels = model.preprocess(samples[0])
    assert pixels.dtype == np.float32 and pixels.ndim == 4
    assert np.array_equal(model.embed(pixels), want)
    assert np.array_equal(model.embed(pixels[0]), want)
    assert np.array_equal(model.embed([picture, samples[0]]), np.concatenate([want, want]))
    # Not contiguous.
    assert np.array_equal(model.embed(np.asarray(picture.convert("RGB")).copy(order="F")), want)


def test_arrays_of_any_layout_give_the_same(model, samples):
    pixels = model.preprocess(samples[0])
    want = model.embed(pixels)
    # Its strides are no multiples of 4.
    packed = np.zeros(pixels.shape, [("flag", np.uint8), ("value", np.float32)])
    packed["value"] = pixels
    unaligned = np.zeros(1 + pixels.nbytes, np.uint8)[1:].view(np.float32).reshape(pixels.shape)
    unaligned[:] = pixels
    reversed_ = pixels[..., ::-1].copy()[..., ::-1]
    for array in (packed["value"], unaligned, reversed_, np.asfortranarray(pixels)):
        assert np.array_equal(model.embed(array), want)
        assert np.array_equal(model.forward(array, ["features"])["features"], want)


def test_arrays_of_many_axes_are_refused(model):
    pytest.importorskip("numpy", "2", reason="has no more than 32 axes")
    for array in (np.zeros((2,) + (1,) * 32, np.float32)[::-1], np.broadcast_to(np.float32(0), (1,) * 32 + (2,))):
        for call in (model.embed, lambda array: model.forward(array, ["features"])):
            with pytest.raises(vitraux.Error):
                call(array)


def test_arrays_beyond_all_memory_are_refused(model):
    pixels = np.broadcast_to(np.float32(0), (1, 1, 1 << 29, 1 << 29))
    for call in (lambda: model.embed(np.broadcast_to(np.uint8(0), (1 << 29, 1 << 29, 3))), lambda: model.embed(pixels), lambda: model.forward(pixels, ["features"])):
        with pytest.raises(MemoryError):
            call()


def test_lists_of_all_forms_give_the_same(model, samples):
    paths = [str(path) for path in samples[:2]]
    want = model.embed(paths)
    for images in (tuple(paths), UserList(paths), np.array(paths), np.array(paths, object), list(np.array(paths))):
        assert np.array_equal(model.embed(images), want)
    assert np.array_equal(model.embed(np.str_(paths[0])), model.embed(paths[0]))
    assert np.array_equal(model.embed(np.bytes_(samples[0].read_bytes())), model.embed(paths[0]))
    with pytest.raises(vitraux.Error, match="found memoryview"):
        model.embed(memoryview(b"GIF"))


class OfAnotherLibrary:
    """A tensor that only speaks DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack_in_and_out(model, samples):
    pixels = model.preprocess(samples[:2])
    vectors = model.embed(OfAnotherLibrary(pixels))
    assert np.array_equal(vectors, model.embed(pixels))
    assert np.array_equal(np.from_dlpack(vectors), vectors)


def test_encoders_of_embeddings_take_masks_of_booleans():
    model = vitraux.load(Path(__file__).parents[3] / "tests/fixtures/cases/torch_prenorm_encoder", device="cpu")
    tokens = np.random.default_rng(0).normal(size=(2, 5, model.config["width"])).astype(np.float32)
    mask = np.arange(5) > np.array([[2], [4]])
    output = model.outputs[-1]
    want = model.forward(tokens, [output], key_padding_mask=mask.astype(np.float32))[output]
    assert not np.array_equal(want, model.forward(tokens, [output])[output])
    for given in (mask, OfAnotherLibrary(mask)):
        assert np.array_equal(model.forward(tokens, [output], key_padding_mask=given)[output], want)
    with pytest.raises(vitraux.Error, match="; use forward$"):
        model.embed(tokens)


def test_embed_gives_one_vector_per_image(model, samples):
    vectors = model.embed(samples)
    assert vectors.shape == (len(samples), model.config["embedding_width"]) and vectors.dtype == np.float32
    assert np.allclose(vectors[1:2], model.embed(samples[1]), atol=1e-5)
    normalized = model.embed(samples, normalize=True)
    assert np.allclose(np.linalg.norm(normalized, axis=1), 1)
    # The memory belongs to the array, beyond the model's next call.
    kept = vectors.copy()
    model.embed(samples[::-1])
    assert np.array_equal(vectors, kept)


def test_unreadable_images_can_be_reported_instead_of_raised(model, samples):
    vectors, errors = model.embed([samples[0], b"no image", "none.png", samples[1]], return_errors=True)
    assert np.array_equal(vectors[[0, 3]], model.embed(samples[:2]))
    assert np.isnan(vectors[1:3]).all()
    assert errors[0] is None and errors[3] is None and "none.png" in errors[2] and "image" in errors[1]
    bad = [None, np.zeros((3, 3)), np.zeros((3, 32, 32), np.float32), np.zeros((1, 17, 16), np.float32), np.full((1, 32, 32), np.nan, np.float32), np.zeros((2, 9, 9, 3), np.uint8)]
    vectors, errors = model.embed([*bad, samples[0]], return_errors=True)
    assert np.isnan(vectors[:-1]).all() and all(errors[:-1])
    assert np.array_equal(vectors[-1:], model.embed(samples[0])) and errors[-1] is None
    for image in (b"no image", None, "none.png", np.zeros((3, 3))):
        vectors, errors = model.embed(image, return_errors=True)
        assert vectors.shape[0] == 1 and np.isnan(vectors).all() and errors[0]
    vectors, errors = model.embed([b""], normalize=True, return_errors=True)
    assert vectors.shape == (1, model.config["embedding_width"]) and np.isnan(vectors).all() and errors[0]


class Interrupted:
    """An image during whose reading Ctrl-C is pressed."""

    def __array__(self, *args, **options):
        raise KeyboardInterrupt


def test_ctrl_c_is_no_error_of_an_image(model):
    for images in (Interrupted(), [Interrupted()]):
        with pytest.raises(KeyboardInterrupt):
            model.embed(images, return_errors=True)


def test_features_are_those_of_forward(model, samples):
    pixels = model.preprocess(samples[:2])
    last = model.config["depth"] - 1
    tokens = model.forward(pixels, outputs=[f"hidden.{last}", "hidden.0"])
    assert list(model.forward(pixels, outputs="hidden.0")) == ["hidden.0"]
    prefix = model.config["prefix_tokens"]
    first, again = model.features(samples[:2], layers=[0, -1])
    height, width = model.config["grid"]
    assert first.shape == (2, model.config["width"], height, width)
    assert np.array_equal(again, tokens[f"hidden.{last}"][:, prefix:].transpose(0, 2, 1).reshape(again.shape))
    flat, twice = model.features(samples[:2], layers=[0, 0], reshape=False)
    assert np.array_equal(flat, tokens["hidden.0"][:, prefix:]) and np.array_equal(flat, twice)
    assert not np.shares_memory(flat, twice)
    assert model.features(samples[0])[0].shape == (1, model.config["width"], height, width)


def test_images_of_several_grids_have_no_common_features(model):
    wide, tall = np.zeros((1, 16, 32), np.float32), np.zeros((1, 32, 16), np.float32)
    assert model.features([wide, wide])[0].shape[2:] == (4, 8)
    assert model.embed([wide, tall]).shape[0] == 2
    for call in (model.features, model.attention):
        with pytest.raises(vitraux.Error, match="one size"):
            call([wide, tall])


def saved(image, name, tmp_path, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_pil_images_are_read_as_their_files(model, samples, tmp_path):
    grey = Image.open(samples[0]).convert("L")
    turned = Image.Exif()
    turned[0x0112] = 6
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    paths = [
        saved(grey, "turned.png", tmp_path, exif=turned),
        saved(sixteen, "sixteen.png", tmp_path),
        saved(grey, "key.png", tmp_path, transparency=0),
        saved(grey.convert("RGB"), "colour_key.png", tmp_path, transparency=(0, 0, 0)),
        saved(grey.convert("P"), "palette.png", tmp_path),
        saved(grey.convert("1"), "bits.png", tmp_path),
        saved(grey.convert("LA"), "la.png", tmp_path),
        saved(grey.convert("RGBA"), "rgba.png", tmp_path),
    ]
    for path in paths:
        assert np.array_equal(model.preprocess(Image.open(path)), model.preprocess(path)), path.name
    assert Image.open(paths[1]).mode.startswith("I;16")
    with pytest.raises(vitraux.Error, match="mode F"):
        model.preprocess(grey.convert("F"))


def test_odd_lists_are_no_images(model, samples):
    image = np.zeros((20, 20, 3), np.uint8)
    assert model.classify([]) == [] and model.embed([]).shape == (0, model.config["embedding_width"])
    itself: list = []
    itself.append(itself)
    empty, batch = np.zeros((0, 6, 3), np.uint8), np.zeros((2, 20, 20, 3), np.uint8)
    for images in (itself, [[samples[0]]], [image, empty], empty, [batch], np.zeros((0, 1, 0, 0), np.float32), [None]):
        with pytest.raises(vitraux.Error) as raised:
            model.embed(images)
        assert raised.value.kind == "argument"
    for images in ([], np.zeros((0, 5, 6, 3), np.uint8)):
        with pytest.raises(vitraux.Error, match="at least one image"):
            model.preprocess(images)


class Long(list):
    """A list that says it is long."""

    def __len__(self):
        return 1 << 61


def test_long_lists_are_read_element_by_element(model, samples):
    assert np.array_equal(model.embed(Long(samples)), model.embed(samples))
    with pytest.raises(vitraux.Error, match="layers"):
        model.features(samples[0], layers=range(1 << 62))
    with pytest.raises(vitraux.Error, match="found int"):
        model.embed(range(1 << 62))
    for layers in (["0"], [0.5], "0", 0):
        with pytest.raises(TypeError):
            model.features(samples[0], layers=layers)


def test_attention_sums_to_one(model, samples):
    probabilities = model.attention(samples[:2], layer=0)
    batch, heads, queries, keys = probabilities.shape
    assert (batch, heads) == (2, model.config["heads"]) and queries == keys
    assert np.allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    row = model.attention(samples[:2], layer=0, query=0)
    assert row.shape == (2, heads, keys)
    assert np.allclose(row, probabilities[:, :, 0], atol=1e-5)


def test_properties_describe_the_model(model):
    assert model.labels == [str(digit) for digit in range(10)]
    assert model.heads == [""]
    assert "logits" in model.outputs and model.precision == "f32" and model.device.startswith("cpu")
    assert "digits" in repr(model)


def test_errors_have_kinds(model, samples, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(samples[0].read_bytes()[:80])

    def kind(call) -> str:
        with pytest.raises(vitraux.Error) as raised:
            call()
        assert str(raised.value)
        return raised.value.kind

    assert kind(lambda: model.embed(tmp_path / "none.png")) == "io"
    assert kind(lambda: model.embed([samples[0], broken])) == "image"
    assert kind(lambda: model.embed(b"no image")) == "image"
    assert kind(lambda: model.embed(3)) == "argument"
    assert kind(lambda: model.embed(np.zeros((2, 2), np.float64))) == "argument"
    assert kind(lambda: model.embed(np.zeros((0, 0, 3), np.uint8))) == "argument"
    assert kind(lambda: model.classify(samples[0], head="none")) == "argument"
    assert kind(lambda: model.features(samples[0], layers=[99])) == "argument"
    assert kind(lambda: model.classify(samples[0], top_k=-1)) == "argument"
    assert kind(lambda: model.attention(samples[0], query=-1)) == "argument"
    assert kind(lambda: model.attention(samples[0], query=999)) == "argument"
    assert vitraux.Error("another").kind == "other"
    assert kind(lambda: model.forward(model.preprocess(samples[0]), outputs=["nothing"])) == "argument"
    assert kind(lambda: model.forward(np.zeros((1, 7, 9, 9), np.float32), outputs=["logits"])) == "argument"
    assert kind(lambda: model.forward(model.preprocess(samples[0]), outputs=range(1 << 62))) == "argument"
    assert kind(lambda: vitraux.load("digits", precision="f8")) == "argument"
    assert kind(lambda: vitraux.load(tmp_path)) in ("io", "file")
    assert kind(lambda: vitraux.load("digits", device="no such adapter")) == "no_device"


def test_texts_are_strings(clip):
    want = clip.encode_text(["a cat", "a dog"])
    for texts in (("a cat", "a dog"), np.array(["a cat", "a dog"])):
        assert np.array_equal(clip.encode_text(texts), want)
    for texts, found in ((3, "int"), (["a cat"] * 1000 + [3], "int in list"), (b"a cat", "int in bytes"), (["\ud800"], "surrogates"), ("\ud800", "surrogates"), (range(1 << 62), "int in range")):
        with pytest.raises(vitraux.Error, match=found) as raised:
            clip.encode_text(texts)
        assert raised.value.kind == "argument" and len(str(raised.value)) < 200


def test_pickled_models_are_loaded_again(model, samples):
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.embed(samples[0]), model.embed(samples[0]))
    assert all(type(argument) is str for argument in model.__reduce__()[1])


def test_precisions(samples):
    for precision in ("f16", "bf16", "int8", "auto"):
        model = vitraux.load("digits", device="cpu", precision=precision)
        assert model.classify(samples[0])[0]["label"] == digit(samples[0])
