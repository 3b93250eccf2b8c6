"""The saved plans that the servers are given, and inputs for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from graph_io import light_model, load_graph, random_inputs, single_tensor_cuts
from partition import partition
from partition.model_parts import split_model
from partition.v2.datatypes import NUMPY_TYPES, STRINGS

Array = NDArray[Any]
SEED = 0
ADAPTS_TO = "1Mbps..1Gbps"


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved plan, with inputs of the whole model."""

    label: str
    folder: Path
    inputs: dict[str, Array]


def save_models(work: Path) -> tuple[Saved, ...]:
    """Save a plan over every type that travels, one of SqueezeNet cut once, and one that adapts."""
    types, inputs = _every_type()
    graph = load_graph(types, granularity="node", inputs=inputs)
    partition(graph, "wifi", cut=[f"cut {name}" for name in NUMPY_TYPES]).save(work / "types")
    network = load_graph(light_model("squeezenet", seed=SEED))
    tensors = single_tensor_cuts(network)
    partition(network, "500Mbps", rtt="1ms", cut=[tensors[len(tensors) // 2]]).save(work / "fixed")
    partition(network, "500Mbps", rtt="1ms", adapt=ADAPTS_TO).save(work / "adaptive")
    given = {name: network.graph["tensors"][name] for name in network.graph["inputs"]}
    image = random_inputs(
        {name: one.shape for name, one in given.items()}, {name: one.dtype for name, one in given.items()}, seed=SEED
    )
    return (
        Saved("every type", work / "types", inputs),
        Saved("squeezenet", work / "fixed", image),
        Saved("squeezenet, adaptive", work / "adaptive", image),
    )


def save_without_dimensions(work: Path) -> Saved:
    """Save a plan whose cut is a single number, a tensor without dimensions."""
    whole = _chains({"x": (onnx.TensorProto.FLOAT, [])}, ("x", "cut", "y"))
    partition(load_graph(whole, granularity="node"), "wifi", cut=["cut x"]).save(work / "number")
    return Saved("a number", work / "number", {"x x": np.array(2.5, np.float32)})


def save_echo(work: Path) -> Path:
    """Save a model in parts whose last one returns what it gets, of any length."""
    whole = _chains({"x": (onnx.TensorProto.FLOAT, ["n"])}, ("x", "cut", "y"))
    split_model(load_graph(whole, granularity="node", dims={"n": 1}), ["cut x"]).save(work / "echo")
    return work / "echo"


def _every_type() -> tuple[onnx.ModelProto, dict[str, Array]]:
    kinds = {name: (helper.np_dtype_to_tensor_dtype(dtype), ["n", 3]) for name, dtype in NUMPY_TYPES.items()}
    generator = np.random.default_rng(SEED)
    inputs: dict[str, Array] = {}
    for name, dtype in NUMPY_TYPES.items():
        if name == STRINGS:
            value = np.array([["text", "é 😀", "x" * 300], ["", 'quote"', "line\nend"]], np.object_)
        elif dtype.kind in "iu":
            limits = np.iinfo(dtype)
            value = generator.integers(limits.min, limits.max, (2, 3), dtype=dtype, endpoint=True)
        else:
            value = (4 * generator.standard_normal((2, 3))).astype(dtype)
        inputs[f"x {name}"] = value
    return _chains(kinds, ("x", "cut", "y")), inputs


def _chains(kinds: Mapping[str, tuple[int, list[Any]]], stages: tuple[str, ...]) -> onnx.ModelProto:
    """Make a chain of Identity for each name, of its type and shape."""
    nodes = [
        helper.make_node("Identity", [f"{before} {name}"], [f"{after} {name}"])
        for name in kinds
        for before, after in pairwise(stages)
    ]
    first, last = (
        [helper.make_tensor_value_info(f"{stage} {name}", *kind) for name, kind in kinds.items()]
        for stage in (stages[0], stages[-1])
    )
    graph = helper.make_graph(nodes, "chains", first, last)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
