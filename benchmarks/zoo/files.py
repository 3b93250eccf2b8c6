"""The zoo's networks as files, built one at a time and kept or not, and inputs to run them on."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import built_file
from benchmarks.settings import SEED
from benchmarks.zoo import NETWORKS
from graph_io import LayerGraph
from graph_io.inputs import random_inputs
from graph_io.shapes import input_dtypes


def network_file(name: str, cache: Path | None) -> AbstractContextManager[Path]:
    """Return the file of a network of the zoo; see `benchmarks.models.built_file`."""
    return built_file(f"zoo-{name}.onnx", NETWORKS[name].build, cache)


def network_inputs(name: str, graph: LayerGraph) -> dict[str, NDArray[Any]]:
    """Make seeded inputs: random ones, but ones where the network wants a mask that lets everything through."""
    made = random_inputs(graph.graph["input_shapes"], input_dtypes(graph.graph["model"]), seed=SEED)
    ones = NETWORKS[name].ones if name in NETWORKS else ()
    return {key: np.ones_like(value) if key in ones else value for key, value in made.items()}
