"""The parts of a plan as bytes and as open ONNX Runtime sessions; files are checked before they are used."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph_io import runtime_reason
from partition.errors import InputError
from partition.files import open_file
from partition.plan import Runnable
from partition.plan_records import PlanPart, WeightsFile
from partition.units import check_threads

if TYPE_CHECKING:
    import onnxruntime

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


def part_bytes(plan: Runnable) -> list[bytes]:
    """Return the serialised parts of a plan, cut from its model or read from its folder.

    Raises
    ------
    InputError
        A file is missing, or is not the one that was saved with the plan.
    """
    if not isinstance(plan.source, Path):
        # Here, because cutting needs onnx, which a device that only runs saved plans need not have.
        from partition.codecs.parts import emitted_parts

        return emitted_parts(plan.source, plan.parts)
    contents = []
    for part in plan.parts:
        path = plan.source / part.file
        try:
            with open_file(path) as file:
                content = file.read()
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
    path = folder / part.file
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    _compare(path, part, sha256)
    for weights in part.weights_files:
        check_weights_file(folder, weights)


def check_weights_file(folder: Path, weights: WeightsFile, *, contents: bool = False) -> None:
    """Check that a file of weights is there and as long as it was, and its contents if asked.

    Raises
    ------
    InputError
        It is missing, another, or outside of the plan's folder; or its contents were not hashed when it was saved.
    """
    path = folder / weights.file
    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    if os.path.isabs(weights.file) or not inside:
        raise InputError(f"weights '{weights.file}' of the plan in '{folder}' lie outside of the plan's own folder")
    try:
        with open_file(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
        digest = file_sha256(path) if contents else None
    except OSError as error:
        raise InputError(f"weights '{path}' cannot be read: {error.strerror or error}; save the plan again") from error
    if size_bytes != weights.size_bytes:
        raise InputError(
            f"weights '{path}' have {size_bytes} bytes, and {weights.size_bytes} when the plan was saved; save it again"
        )
    if contents and weights.sha256 is None:
        raise InputError(
            f"weights '{path}' cannot be checked: the plan was saved without their hashes; save it with --hash-weights"
        )
    if digest != (weights.sha256 if contents else None):
        raise InputError(
            f"weights '{path}' are not those that were saved with this plan (their hash differs); save it again"
        )


def file_sha256(path: Path) -> str:
    """Hash a file without holding it in memory."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"part '{path}' cannot be read: {error.strerror or error}; save the plan again")


def _compare(path: Path, part: PlanPart, sha256: str) -> None:
    if sha256 != part.sha256:
        raise InputError(
            f"part '{path}' is not the file that was saved with this plan (its hash differs); save it again"
        )


def session_options(
    *, threads: int | None, weights: Path | None = None, optimize: bool = True
) -> "onnxruntime.SessionOptions":
    """Return the runtime's options for a part or a whole model: its default optimisation level, quiet.

    Parameters
    ----------
    threads : int or None
        The runtime's choice if None.
    weights : pathlib.Path, optional
        Folder in whose files the weights lie, for a model that is given as bytes.
    optimize : bool
        If not, the session is opened to see whether the runtime takes the model, and no weight is read or packed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    if weights is not None:
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(weights))
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
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


def open_numbered_parts(
    plan: Runnable, numbers: Iterable[int], *, threads: int | None
) -> "dict[int, onnxruntime.InferenceSession]":
    """Open some parts of a saved plan, by their numbers.

    Raises
    ------
    InputError
        The plan was not saved, a file is missing or another, or the runtime refuses a part.
    """
    if not isinstance(plan.source, Path):
        raise InputError(f"the plan of '{plan.model.name}' was not saved; save it, and load it from its folder")
    if threads is not None:
        check_threads(threads)
    found = {}
    for number in numbers:
        part = plan.parts[number]
        check_part(plan.source, part)
        found[number] = open_part(str(plan.source / part.file), part.file, session_options(threads=threads))
    return found


def open_parts(
    plan: Runnable, *, threads: int | Mapping[str, int | None] | None
) -> "tuple[onnxruntime.InferenceSession, ...]":
    """Open all parts of a plan, in order, with so many threads each, or by the machine that a part is for.

    Raises
    ------
    InputError
        A file is missing or another, the runtime refuses a part, or the parts do not belong together.
    """
    machine_of = {number: stage.machine for stage in plan.stages for number in stage.parts}
    # Files of a saved plan name their weights relative to themselves.
    weights = None if isinstance(plan.source, Path) else plan.source.graph["model"].weights
    options = [
        session_options(
            threads=threads.get(machine_of[number]) if isinstance(threads, Mapping) else threads, weights=weights
        )
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
