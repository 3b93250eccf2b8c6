"""The parts of a plan as bytes and as open ONNX Runtime sessions; files are checked before they are used."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph_io import runtime_reason, split
from partition.errors import InputError
from partition.plan import Plan, PlanPart

if TYPE_CHECKING:
    import onnxruntime

_READ_BYTES = 1 << 20


def part_bytes(plan: Plan) -> list[bytes]:
    """Return the serialised parts of a plan, cut from its model or read from its folder.

    Raises
    ------
    InputError
        A file is missing, or is not the one that was saved with the plan.
    """
    if not isinstance(plan.source, Path):
        submodels = split(plan.source, [part.layers for part in plan.parts])
        return [submodel.proto.SerializeToString() for submodel in submodels]
    contents = []
    for part in plan.parts:
        path = plan.source / part.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error
        _compare(path, part, hashlib.sha256(content).hexdigest())
        contents.append(content)
    return contents


def check_part(folder: Path, part: PlanPart) -> None:
    """Check that a file of a plan's folder is the one that was saved, without holding it in memory.

    Raises
    ------
    InputError
        It is missing, or another.
    """
    if Path(part.file).name != part.file:
        raise InputError(f"part '{part.file}' of the plan in '{folder}' is a path; parts lie in the plan's own folder")
    path, digest = folder / part.file, hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    _compare(path, part, digest.hexdigest())


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"part '{path}' cannot be read: {error.strerror or error}; save the plan again")


def _compare(path: Path, part: PlanPart, sha256: str) -> None:
    if sha256 != part.sha256:
        raise InputError(
            f"part '{path}' is not the file that was saved with this plan (its hash differs); save it again"
        )


def session_options(*, threads: int | None) -> "onnxruntime.SessionOptions":
    """Return the runtime's options for a part or a whole model: its default optimisation level, quiet."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def open_part(content: str | bytes, name: str, options: Any) -> "onnxruntime.InferenceSession":
    """Open a part, given by its path or its bytes, on the runtime's CPU provider.

    Raises
    ------
    InputError
        The runtime refuses it.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no public base class
        raise InputError(f"{name} cannot be opened by onnxruntime: {runtime_reason(error)}") from error


def open_parts(
    plan: Plan, *, threads: int | Mapping[str, int | None] | None
) -> "tuple[onnxruntime.InferenceSession, ...]":
    """Open all parts of a plan, in order, with so many threads each, or by the machine that a part is for.

    Raises
    ------
    InputError
        A file is missing or another, the runtime refuses a part, or the parts do not belong together.
    """
    machine_of = {number: stage.machine for stage in plan.stages for number in stage.parts}
    options = [
        session_options(threads=threads.get(machine_of[number]) if isinstance(threads, Mapping) else threads)
        for number in range(len(plan.parts))
    ]
    sources: list[str | bytes]
    if isinstance(plan.source, Path):
        for part in plan.parts:
            check_part(plan.source, part)
        sources = [str(plan.source / part.file) for part in plan.parts]
    else:
        sources = [*part_bytes(plan)]
    sessions = tuple(
        open_part(source, part.file, own) for source, part, own in zip(sources, plan.parts, options, strict=True)
    )
    known = set(plan.model.input_names)
    for part, session in zip(plan.parts, sessions, strict=True):
        missing = next((value.name for value in session.get_inputs() if value.name not in known), None)
        if missing is not None:
            raise InputError(
                f"{part.file} reads tensor '{missing}', which no earlier part puts out: the parts do not belong "
                "together; save the plan again"
            )
        known.update(value.name for value in session.get_outputs())
    missing = next((name for name in plan.model.output_names if name not in known), None)
    if missing is not None:
        raise InputError(f"output '{missing}' of the model comes out of no part; save the plan again")
    return sessions
