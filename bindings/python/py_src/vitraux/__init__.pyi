import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, final, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["Error", "Model", "__version__", "load"]

__version__: str

class _Array(Protocol):
    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...

class _PilImage(Protocol):
    @property
    def mode(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]: ...
    def tobytes(self, *args: Any, **kwargs: Any) -> bytes: ...
    def convert(self, *args: Any, **kwargs: Any) -> Any: ...

_One: TypeAlias = str | os.PathLike[str] | bytes | bytearray | _PilImage
_Image: TypeAlias = _One | NDArray[np.uint8] | NDArray[np.float32] | _Array
_Images: TypeAlias = _Image | Sequence[_Image] | NDArray[np.str_] | NDArray[np.object_]
_Strings: TypeAlias = str | Sequence[str]
_Integers: TypeAlias = NDArray[np.integer[Any]] | NDArray[np.bool_] | _Array | Sequence[Sequence[int]]

class _Class(TypedDict):
    label: str
    score: float

class Error(Exception):
    kind: Literal[
        "io",
        "file",
        "unsupported",
        "tensor",
        "image",
        "image_limit",
        "network",
        "argument",
        "no_device",
        "device",
        "device_lost",
        "out_of_memory",
        "limit",
        "other",
    ]

@final
class Model:
    @property
    def heads(self) -> list[str]: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def outputs(self) -> list[str]: ...
    @property
    def text_outputs(self) -> list[str]: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    def __call__(self, images: _Images) -> Any: ...
    @overload
    def classify(self, images: _One, top_k: int = 5, *, head: str | None = None, labels: _Strings | None = None, template: _Strings | None = None) -> list[_Class]: ...  # type: ignore[overload-overlap]
    @overload
    def classify(self, images: Sequence[_Image], top_k: int = 5, *, head: str | None = None, labels: _Strings | None = None, template: _Strings | None = None) -> list[list[_Class]]: ...
    # One image, or a batch of them.
    @overload
    def classify(self, images: NDArray[Any] | _Array, top_k: int = 5, *, head: str | None = None, labels: _Strings | None = None, template: _Strings | None = None) -> list[Any]: ...
    @overload
    def embed(self, images: _Images, *, normalize: bool = False, return_errors: Literal[False] = False) -> NDArray[np.float32]: ...
    @overload
    def embed(
        self, images: _Images, *, normalize: bool = False, return_errors: Literal[True]
    ) -> tuple[NDArray[np.float32], list[str | None]]: ...
    @overload
    def embed(
        self, images: _Images, *, normalize: bool = False, return_errors: bool
    ) -> NDArray[np.float32] | tuple[NDArray[np.float32], list[str | None]]: ...
    def encode_text(self, texts: _Strings) -> NDArray[np.float32]: ...
    def similarity(self, images: NDArray[np.float32] | _Array, texts: NDArray[np.float32] | _Array) -> NDArray[np.float32]: ...
    def features(self, images: _Images, layers: Sequence[int] | NDArray[np.integer[Any]] | None = None, *, reshape: bool = True) -> list[NDArray[np.float32]]: ...
    def attention(self, images: _Images, layer: int = -1, *, query: int | None = None) -> NDArray[np.float32]: ...
    def forward(
        self,
        pixel_values: NDArray[np.float32] | _Array,
        outputs: _Strings,
        *,
        key_padding_mask: NDArray[np.float32] | NDArray[np.bool_] | _Array | None = None,
    ) -> dict[str, NDArray[np.float32]]: ...
    def forward_text(
        self, input_ids: _Integers, outputs: _Strings, *, attention_mask: _Integers | None = None
    ) -> dict[str, NDArray[np.float32]]: ...
    def preprocess(self, images: _Images) -> NDArray[np.float32]: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def load(
    model: str | os.PathLike[str],
    device: str = "auto",
    precision: Literal["auto", "f32", "f16", "bf16", "int8"] = "f32",
    progress: bool | Callable[[str, int, int], object] | None = True,
) -> Model: ...
