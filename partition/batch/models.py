"""Which models a batch is of: files, folders and patterns, models in memory, layer graphs, each with its own dims."""

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from graph_io import LayerGraph, ModelSource
from partition.errors import InputError

if TYPE_CHECKING:
    from graph_io.graph import Granularity
    from graph_io.model import Model


@dataclass(frozen=True, slots=True)
class BatchModel:
    """A model of a batch.

    Attributes
    ----------
    source : path, onnx.ModelProto or networkx.DiGraph
        As `partition.partition` takes it.
    dims : mapping of str to int
        Values of its symbolic dimensions, besides those given for all models.
    name : str
        What its rows call it; empty for the path as given, or the name of the graph.
    """

    source: "ModelSource | LayerGraph"
    dims: Mapping[str, int] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", _name_of(self.source))


def find_models(models: object) -> tuple[BatchModel, ...]:
    """List the models that a user means.

    Parameters
    ----------
    models : one of these, or an iterable of them
        A path; a folder, for its files ``*.onnx``; a pattern such as ``"zoo/**/*.onnx"``; an onnx.ModelProto; a graph
        from `graph_io.load_graph`; a `BatchModel`. A folder's and a pattern's files come in the order of their names,
        and a file that several of them name comes once.

    Returns
    -------
    tuple of BatchModel
        A path that nothing is at stays: its rows will say so.

    Raises
    ------
    InputError
        No model at all; a folder or a pattern without a file; something else than these.
    """
    # Models and graphs can be iterated over, too, but are one entry.
    listed = (
        isinstance(models, Iterable) and not isinstance(models, str | bytes | os.PathLike) and not _is_model(models)
    )
    entries = list(models) if listed and isinstance(models, Iterable) else [models]
    found: list[BatchModel] = []
    seen: set[str] = set()
    for entry in entries:
        if isinstance(entry, BatchModel):
            found.append(entry)
        elif isinstance(entry, str | os.PathLike):
            for path in _files(os.fspath(entry)):
                real = os.path.realpath(path)
                if real not in seen:
                    seen.add(real)
                    found.append(BatchModel(path))
        elif _is_model(entry):
            found.append(BatchModel(entry))  # type: ignore[arg-type]
        else:
            raise InputError(f"{entry!r} is no model; give paths, folders, patterns, models, graphs or BatchModel")
    if not found:
        raise InputError("there is no model to solve; give at least one")
    return tuple(found)


def load(model: BatchModel, dims: Mapping[str, int], granularity: "Granularity") -> tuple[LayerGraph, tuple[str, ...]]:
    """Load one model as layers; of `dims`, those count that it has.

    Returns
    -------
    graph : networkx.DiGraph
    missing : tuple of str
        The names in `dims` that it does not have.

    Raises
    ------
    InputError, graph_io.ModelError
        As `partition.partition` raises them; a graph that was loaded with another value than `dims` has.
    """
    import networkx as nx

    from graph_io import load_graph, load_model
    from graph_io.model import Model
    from partition.api import load_layers

    source = model.source
    if isinstance(source, nx.DiGraph):
        graph = load_layers(source, dict(model.dims) or None, granularity, None)
        own = _open_dims(graph.graph["model"])
        for name in dims.keys() & own.keys():
            sizes = sorted({int(graph.graph["input_shapes"][tensor][axis]) for tensor, axis in own[name]})
            if dims[name] not in sizes:
                raise InputError(
                    f"dims has {name}={dims[name]!r}, and the graph was loaded with {' and '.join(map(str, sizes))}; "
                    "dims belong to loading: pass them to load_graph"
                )
        return graph, tuple(name for name in dims if name not in own)
    loaded = source if isinstance(source, Model) else load_model(source, sparing=True)
    own = _open_dims(loaded)
    shared = {name: value for name, value in dims.items() if name in own}
    graph = load_graph(loaded, dims={**shared, **model.dims}, granularity=granularity)
    return graph, tuple(name for name in dims if name not in own)


def _open_dims(model: "Model") -> dict[str, list[tuple[str, int]]]:
    """Return the names of the open dimensions, each with the inputs and axes where it stands."""
    found: dict[str, list[tuple[str, int]]] = {}
    for declared in model.proto.graph.input:
        for axis, dim in enumerate(declared.type.tensor_type.shape.dim):
            if not (dim.HasField("dim_value") and dim.dim_value >= 0):
                for name in {dim.dim_param, f"{declared.name}.{axis}"} - {""}:
                    found.setdefault(name, []).append((declared.name, axis))
    return found


def _files(text: str) -> list[str]:
    if os.path.isdir(text):
        names = sorted(name for name in os.listdir(text) if name.lower().endswith(".onnx"))
        if not names:
            raise InputError(f"folder '{text}' holds no file *.onnx; give one that does, or the files themselves")
        return [os.path.join(text, name) for name in names]
    if os.path.lexists(text) or not glob.has_magic(text):
        return [text]
    paths = sorted(path for path in glob.glob(text, recursive=True) if os.path.isfile(path))
    if not paths:
        raise InputError(f"no file fits the pattern '{text}'; give one that does, or the files themselves")
    return paths


def _is_model(entry: object) -> bool:
    import networkx as nx

    from graph_io.model import Model

    # A ModelProto is known by its name: the package onnx stays within graph_io.
    return isinstance(entry, nx.DiGraph | Model) or type(entry).__name__ == "ModelProto"


def _name_of(source: object) -> str:
    import networkx as nx

    if isinstance(source, str | Path | os.PathLike):
        return os.fspath(source)
    if isinstance(source, nx.DiGraph):
        return str(source.graph.get("name") or "model")
    name = getattr(source, "name", None) or getattr(getattr(source, "graph", None), "name", None)
    return str(name or "model")
