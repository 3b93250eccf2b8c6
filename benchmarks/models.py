"""The light models as files, built one at a time: some hold hundreds of megabytes of weights."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from benchmarks.settings import SEED
from graph_io import light_model


@contextmanager
def model_file(name: str, cache: Path | None) -> Iterator[Path]:
    """Yield a light model's file: from the cache, or one that vanishes afterwards."""
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="dnn-partition-bench-") as folder:
            path = Path(folder) / f"{name}.onnx"
            onnx.save(light_model(name, seed=SEED), path)
            yield path
        return
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{name}-seed{SEED}.onnx"
    if not path.exists():
        # Under another name first, so that an interrupted build leaves no half model behind under this one.
        draft = cache / f".{path.name}.{os.getpid()}"
        try:
            onnx.save(light_model(name, seed=SEED), draft, format="protobuf")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    yield path
