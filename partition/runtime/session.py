"""Split ONNX Runtime sessions that run one after the other in this process."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.plan import Plan

if TYPE_CHECKING:
    import onnxruntime

Array = NDArray[Any]

# Above this a part is opened without rewriting its weights into packed copies, which would double the memory.
_PREPACKING_LIMIT_BYTES = 512 * 1024 * 1024
# The names by which the runtime calls element types that NumPy has.
_NUMPY_TYPES = {
    "bool": np.bool_,
    "double": np.float64,
    "float": np.float32,
    "float16": np.float16,
    "string": np.object_,
} | {f"{sign}int{bits}": np.dtype(f"{sign}int{bits}").type for sign in ("", "u") for bits in (8, 16, 32, 64)}


class SplitSession:
    """The parts of a plan, open and ready to run; use it as a context manager.

    Examples
    --------
    >>> with plan.session() as session:                    # doctest: +SKIP
    ...     outputs = session.run({"data": image})
    """

    def __init__(
        self, plan: Plan, sessions: "tuple[onnxruntime.InferenceSession, ...]", part_of_names: tuple[str, ...]
    ) -> None:
        self._plan = plan
        self._sessions = sessions
        self._names = part_of_names
        self._steps = [
            (one, tuple(value.name for value in one.get_inputs()), tuple(value.name for value in one.get_outputs()))
            for one in sessions
        ]
        self._input_types: dict[str, tuple[Any, list[Any]]] = {}
        for one in sessions:
            for value in one.get_inputs():
                if value.name in plan.model.inputs:
                    numpy_type = _NUMPY_TYPES.get(value.type.removeprefix("tensor(").removesuffix(")"))
                    self._input_types.setdefault(value.name, (numpy_type, list(value.shape)))
        self._last_use = {name: number for number, (_, inputs, _) in enumerate(self._steps) for name in inputs}

    def __repr__(self) -> str:
        return f"<SplitSession of {self._plan.model.name!r}, {len(self._sessions)} parts>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the runtime's sessions; the session cannot run afterwards."""
        self._steps = []
        self._sessions = ()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run all parts in order.

        Parameters
        ----------
        inputs : mapping of str to numpy.ndarray
            Every model input by its name, of the model's own type; nothing is cast.

        Returns
        -------
        dict of str to numpy.ndarray
            The model's outputs by name, in the model's order.

        Raises
        ------
        InputError
            A missing or unknown input, another type or shape than the model's, or a closed session.
        """
        if not self._steps:
            raise InputError("this session is closed; open another with plan.session()")
        self._check(inputs)
        values: dict[str, Array] = dict(inputs)
        outputs = self._plan.model.outputs
        for number, (session, names, results) in enumerate(self._steps):
            try:
                produced = session.run(list(results), {name: values[name] for name in names})
            except Exception as error:  # the runtime's exceptions share no public base class
                reason = str(error).strip().splitlines()[0]
                raise InputError(f"{self._names[number]} failed in onnxruntime: {reason}") from error
            values.update(zip(results, produced, strict=True))
            for name in names:
                # Release what no later part reads, as the two machines would.
                if self._last_use[name] == number and name not in outputs:
                    del values[name]
        return {name: values[name] for name in outputs}

    def _check(self, inputs: Mapping[str, Array]) -> None:
        wanted = self._plan.model.inputs
        unknown = next((name for name in inputs if name not in wanted), None)
        if unknown is not None:
            raise InputError(f"input '{unknown}' is not in the model; its inputs are {', '.join(wanted)}")
        for name in wanted:
            if name not in inputs:
                raise InputError(f"input '{name}' is missing; the model's inputs are {', '.join(wanted)}")
            value = inputs[name]
            if not isinstance(value, np.ndarray):
                raise InputError(f"input '{name}' is a {type(value).__name__}; pass a numpy array")
            numpy_type, dims = self._input_types.get(name, (None, []))
            if name in self._input_types and numpy_type is not None:
                # Compared as a whole: the runtime would read swapped bytes as they lie.
                if value.dtype != np.dtype(numpy_type):
                    raise InputError(
                        f"input '{name}' has type {value.dtype}, the model takes {np.dtype(numpy_type)}; "
                        "convert it first, nothing is cast here"
                    )
                fits = len(dims) == value.ndim and all(
                    not isinstance(dim, int) or dim == size for dim, size in zip(dims, value.shape, strict=True)
                )
                if not fits:
                    legal = [dim if isinstance(dim, int) else dim or "?" for dim in dims]
                    raise InputError(f"input '{name}' has shape {list(value.shape)}, the model takes {legal}")


def part_bytes(plan: Plan) -> list[bytes]:
    """Return the serialised parts of a plan, cut from its model or read from its folder."""
    if isinstance(plan.source, Path):
        try:
            return [(plan.source / part.file).read_bytes() for part in plan.parts]
        except OSError as error:
            raise InputError(f"part '{error.filename}' cannot be read: {error.strerror or error}") from error
    from graph_io import split

    submodels = split(plan.source, [part.layers for part in plan.parts])
    return [submodel.proto.SerializeToString() for submodel in submodels]


def part_options(size_bytes: int, *, threads: int | None) -> "onnxruntime.SessionOptions":
    """Return the runtime's options for a part of this size: its default optimisation level, quiet."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    if size_bytes > _PREPACKING_LIMIT_BYTES:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def open_session(plan: Plan, *, threads: int | None) -> SplitSession:
    """Open a plan's parts; see `Plan.session`."""
    import onnxruntime

    sent = {name for message in plan.messages for name in message.tensors}
    encoded = next((name for name in plan.encoded_inputs if name in sent), None)
    if encoded is not None:
        raise InputError(
            f"input '{encoded}' was priced as {plan.encoded_inputs[encoded]} encoded bytes, and this plan sends it; "
            "it runs only with an encoder and a decoder, so plan again without input_bytes to run it here"
        )
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads is {threads!r}; give a whole number of 1 or more")
    sessions = []
    if isinstance(plan.source, Path):
        for part in plan.parts:
            options = part_options(part.file_bytes or 0, threads=threads)
            sessions.append(_open(onnxruntime, str(plan.source / part.file), options, part.file))
    else:
        for part, content in zip(plan.parts, part_bytes(plan), strict=True):
            sessions.append(_open(onnxruntime, content, part_options(len(content), threads=threads), part.file))
    _check_belong_together(plan, sessions)
    return SplitSession(plan, tuple(sessions), tuple(part.file for part in plan.parts))


def _check_belong_together(plan: Plan, sessions: "Sequence[onnxruntime.InferenceSession]") -> None:
    """Refuse parts that do not make up the plan: every tensor comes from the user or from an earlier part."""
    known = set(plan.model.inputs)
    for part, session in zip(plan.parts, sessions, strict=True):
        missing = next((value.name for value in session.get_inputs() if value.name not in known), None)
        if missing is not None:
            raise InputError(
                f"{part.file} reads tensor '{missing}', which no earlier part puts out: the parts do not belong "
                "together; save the plan again"
            )
        known.update(value.name for value in session.get_outputs())
    missing = next((name for name in plan.model.outputs if name not in known), None)
    if missing is not None:
        raise InputError(f"output '{missing}' of the model comes out of no part; save the plan again")


def _open(runtime: Any, content: str | bytes, options: Any, name: str) -> "onnxruntime.InferenceSession":
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no public base class
        raise InputError(f"{name} cannot be opened by onnxruntime: {str(error).strip().splitlines()[0]}") from error
