"""The light models as files, built one at a time: some hold hundreds of megabytes of weights."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import onnx

from benchmarks.settings import SEED
from graph_io import light_model


@contextmanager
def built_file(file_name: str, build: Callable[[], onnx.ModelProto], cache: Path | None) -> Iterator[Path]:
    """Yield the file of a model: from the cache, or one that vanishes afterwards; it is built where there is none."""
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="dnn-partition-bench-") as folder:
            path = Path(folder) / file_name
            onnx.save(build(), path)
            yield path
        return
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / file_name
    if not path.exists():
        # Under another name first, so that an interrupted build leaves no half model behind under this one.
        draft = cache / f".{path.name}.{os.getpid()}"
        try:
            onnx.save(build(), draft, format="protobuf")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    yield path


def model_file(name: str, cache: Path | None) -> AbstractContextManager[Path]:
    """Return a light model's file; see `built_file`."""
    return built_file(f"{name}-seed{SEED}.onnx", partial(light_model, name, seed=SEED), cache)
