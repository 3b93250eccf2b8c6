"""What Triton is told of a stage: models of one part each and one of models, or a program that runs several parts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from partition.errors import InputError
from partition.export.protobuf_text import Fields, Keyword
from partition.export.repository import TritonModel
from partition.plan import Runnable
from partition.plan_records import PlanPart, TensorInfo
from partition.runtime.parts import open_part, session_options
from partition.v2.datatypes import STRINGS, datatype_of_onnx
from partition.v2.names import StageInterface, stage_interface

Backend = Literal["onnxruntime", "python"]
Edges: TypeAlias = dict[str, tuple[str, list[int | None]]]
PartEdges: TypeAlias = dict[int, Edges]
"""Of each part, by its number, the inputs and outputs by name: type and dimensions as the runtime tells them."""

# An empty folder would get lost in a store of objects, and Triton wants one for every version.
_PLACEHOLDER = "ensemble"


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor as Triton describes it: `dims` of -1 are open; one without dimensions has the single size 1."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    is_scalar: bool


def part_edges(plan: Runnable, number: int) -> Edges:
    """Return types and dimensions of a part's inputs and outputs, as the runtime tells them."""
    assert isinstance(plan.source, Path)
    part = plan.parts[number]
    session = open_part(str(plan.source / part.file), part.file, session_options(threads=1, optimize=False))
    sides = ((session.get_inputs(), part.inputs), (session.get_outputs(), part.outputs))
    if any({value.name for value in found} != {tensor.name for tensor in planned} for found, planned in sides):
        raise InputError(f"part '{plan.source / part.file}' has other tensors than its plan says; save the plan again")
    return {
        value.name: (value.type, [size if isinstance(size, int) and size >= 0 else None for size in value.shape])
        for value in (*session.get_inputs(), *session.get_outputs())
    }


def _tensor(planned: TensorInfo, edge: tuple[str, list[int | None]], backend: Backend) -> _Tensor:
    """Describe a tensor by what the runtime says of it, and by the plan where the runtime does not know its rank."""
    datatype = datatype_of_onnx(edge[0], planned.name)
    dims = edge[1]
    if len(dims) != len(planned.shape):
        if backend == "onnxruntime":
            raise InputError(
                f"the model does not tell how many dimensions tensor '{planned.name}' has, and Triton's onnxruntime "
                "backend would take it for one without; pass --backend python (backend='python')"
            )
        dims = [None] * len(planned.shape)
    if 0 in dims:
        raise InputError(
            f"tensor '{planned.name}' has a dimension of size 0, which Triton does not take; cut elsewhere"
        )
    sizes = tuple(-1 if size is None else size for size in dims) or (1,)
    return _Tensor(planned.name, "TYPE_STRING" if datatype == STRINGS else f"TYPE_{datatype}", sizes, not dims)


def onnxruntime_models(
    plan: Runnable, folder: Path, stage: StageInterface, edges: PartEdges, threads: int | None
) -> list[TritonModel]:
    """Make a model of each part of a stage, and one of them all if there are several."""
    across = {tensor.name for tensor in (*stage.inputs, *stage.outputs)}
    models = []
    for number in stage.parts:
        part = plan.parts[number]
        for tensor in (*part.inputs, *part.outputs):
            if tensor.name not in across:
                _check_inner(tensor, edges[number])
        described = {one.name: _tensor(one, edges[number][one.name], "onnxruntime") for one in _tensors(part)}
        config: Fields = (
            ("name", stage_interface(plan, [number]).name),
            ("backend", "onnxruntime"),
            ("max_batch_size", 0),
            *(("input", _fields(described[one.name])) for one in part.inputs),
            *(("output", _fields(described[one.name])) for one in part.outputs),
            *_instance_group(),
            *_parameters(_threads(threads)),
        )
        files: dict[str, Path | bytes] = {"model.onnx": folder / part.file}
        files |= _weights(part, folder, {"model.onnx"})
        models.append(TritonModel(str(config[0][1]), config, files))
    return models if len(models) == 1 else [*models, _ensemble(plan, stage, models, edges)]


def _check_inner(tensor: TensorInfo, edges: Edges) -> None:
    try:
        datatype_of_onnx(edges[tensor.name][0], tensor.name)
    except InputError as error:
        raise InputError(
            f"tensor '{tensor.name}' between two parts of a stage is of type {tensor.dtype}, which Triton does not "
            "hand from model to model; pass --backend python (backend='python')"
        ) from error


def _ensemble(plan: Runnable, stage: StageInterface, models: Sequence[TritonModel], edges: PartEdges) -> TritonModel:
    """Make a model of models: Triton runs them in order and hands the tensors on."""
    inputs, outputs = _stage_tensors(plan, stage, edges, "onnxruntime")
    needed = {tensor.name for number in stage.parts for tensor in plan.parts[number].inputs}
    needed |= {tensor.name for tensor in stage.outputs}
    steps: list[tuple[str, Fields]] = []
    for number, model in zip(stage.parts, models, strict=True):
        part = plan.parts[number]
        if not part.inputs:
            raise InputError(
                f"part '{part.file}' has no inputs, which Triton does not take in a stage of several parts; "
                "pass --backend python (backend='python')"
            )
        maps = [("input_map", one.name) for one in part.inputs]
        maps += [("output_map", one.name) for one in part.outputs if one.name in needed]
        mapped = tuple((kind, (("key", name), ("value", name))) for kind, name in maps)
        steps.append(("step", (("model_name", model.name), ("model_version", -1), *mapped)))
    config: Fields = (
        ("name", stage.name),
        ("platform", "ensemble"),
        ("max_batch_size", 0),
        *(("input", _fields(tensor)) for tensor in inputs),
        *(("output", _fields(tensor)) for tensor in outputs),
        ("ensemble_scheduling", tuple(steps)),
    )
    return TritonModel(stage.name, config, {_PLACEHOLDER: b""})


def python_models(
    plan: Runnable, folder: Path, stage: StageInterface, edges: PartEdges, threads: int | None
) -> list[TritonModel]:
    """Make one model of a stage: its parts, and a program that runs them."""
    inputs, outputs = _stage_tensors(plan, stage, edges, "python")
    parts = [plan.parts[number] for number in stage.parts]
    scalars = [tensor.name for tensor in (*inputs, *outputs) if tensor.is_scalar]
    config: Fields = (
        ("name", stage.name),
        ("backend", "python"),
        ("max_batch_size", 0),
        *(("input", _fields(tensor)) for tensor in inputs),
        *(("output", _fields(tensor)) for tensor in outputs),
        *_instance_group(),
        *_parameters(
            _threads(threads) | {"parts": json.dumps([part.file for part in parts]), "scalars": json.dumps(scalars)}
        ),
    )
    files: dict[str, Path | bytes] = {"model.py": Path(__file__).with_name("triton_model.py")}
    files |= {part.file: folder / part.file for part in parts}
    taken = set(files)
    for part in parts:
        files |= _weights(part, folder, taken)
    return [TritonModel(stage.name, config, files)]


def _stage_tensors(
    plan: Runnable, stage: StageInterface, edges: PartEdges, backend: Backend
) -> tuple[list[_Tensor], list[_Tensor]]:
    """Return a stage's inputs, as the part that reads them first sees them, and outputs."""
    seen = {name: edge for number in reversed(stage.parts) for name, edge in edges[number].items()}
    inputs, outputs = (
        [_tensor(one, seen[one.name], backend) for one in side] for side in (stage.inputs, stage.outputs)
    )
    return inputs, outputs


def _tensors(part: PlanPart) -> tuple[TensorInfo, ...]:
    return (*part.inputs, *part.outputs)


def _fields(tensor: _Tensor) -> Fields:
    return (("name", tensor.name), ("data_type", Keyword(tensor.data_type)), ("dims", list(tensor.dims)))


def _instance_group() -> Fields:
    return (("instance_group", (("count", 1), ("kind", Keyword("KIND_CPU")))),)


def _threads(threads: int | None) -> dict[str, str]:
    return {} if threads is None else {"intra_op_thread_count": str(threads)}


def _parameters(values: dict[str, str]) -> Fields:
    return tuple(("parameters", (("key", key), ("value", (("string_value", text),)))) for key, text in values.items())


def _weights(part: PlanPart, folder: Path, taken: set[str]) -> dict[str, Path | bytes]:
    """Return the files of a part's weights, which lie beside it under the names that it knows."""
    found: dict[str, Path | bytes] = {}
    for weights in part.weights_files:
        path = Path(weights.file)
        if path.is_absolute() or ".." in path.parts or str(path) in taken:
            raise InputError(
                f"weights '{weights.file}' of part '{part.file}' cannot keep their name beside it in a repository; "
                "save the model with its weights in a file of another name"
            )
        found[str(path)] = folder / path
    return found
