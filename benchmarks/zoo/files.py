"""The zoo's networks as files, built one at a time and kept or not, and inputs to run them on."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.settings import SEED
from benchmarks.zoo import NETWORKS
from graph_io import LayerGraph
from graph_io.shapes import input_dtypes, random_inputs


@contextmanager
def network_file(name: str, cache: Path | None) -> Iterator[Path]:
    """Yield the file of a network of the zoo: from the cache, or one that vanishes afterwards."""
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="dnn-partition-bench-") as folder:
            path = Path(folder) / f"{name}.onnx"
            onnx.save(NETWORKS[name].build(), path)
            yield path
        return
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"zoo-{name}.onnx"
    if not path.exists():
        # Under another name first, so that an interrupted build leaves no half model behind under this one.
        draft = cache / f".{path.name}.{os.getpid()}"
        try:
            onnx.save(NETWORKS[name].build(), draft, format="protobuf")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    yield path


def network_inputs(name: str, graph: LayerGraph) -> dict[str, NDArray[Any]]:
    """Make seeded inputs: random ones, but ones where the network wants a mask that lets everything through."""
    made = random_inputs(graph.graph["input_shapes"], input_dtypes(graph.graph["model"]), seed=SEED)
    ones = NETWORKS[name].ones if name in NETWORKS else ()
    return {key: np.ones_like(value) if key in ones else value for key, value in made.items()}
