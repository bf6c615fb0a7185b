import os
from collections.abc import Iterable, Iterator
from typing import Any

class Embedder:
    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "f32",
        normalize: bool = False,
        image: str = "image",
        embedding: str = "embedding",
        error: str = "error",
    ) -> None: ...
    def __call__(self, batch: Any) -> Any: ...
    def frames(self, frames: Iterable[Any]) -> Iterator[Any]: ...
