"""Split ONNX Runtime sessions that run one after the other in this process."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graph_io import runtime_reason
from graph_io.codecs import coded_name
from partition.closing import Closing
from partition.errors import InputError
from partition.plan import Plan, Runnable
from partition.plan_records import ModelInfo, TensorInfo
from partition.runtime.parts import open_parts
from partition.units import check_threads
from partition.v2.input_codec import InputCodec, InputCodecs

if TYPE_CHECKING:
    import onnxruntime

Array = NDArray[Any]

# The names by which the runtime, and of floats a plan, calls element types that NumPy has.
_NUMPY_TYPES = {
    "bool": np.bool_,
    "double": np.float64,
    "float": np.float32,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "string": np.object_,
} | {f"{sign}int{bits}": np.dtype(f"{sign}int{bits}").type for sign in ("", "u") for bits in (8, 16, 32, 64)}


class SplitSession(Closing):
    """The parts of a plan, open and ready to run; use it as a context manager.

    Parameters
    ----------
    plan : Plan or ModelParts
    sessions : tuple of onnxruntime.InferenceSession
        One for each part.
    codecs : InputCodecs, optional
        Of inputs that are encoded on their way to the server: its parts run on what its decoder makes of them.

    Examples
    --------
    >>> with plan.session() as session:                    # doctest: +SKIP
    ...     outputs = session.run({"data": image})
    """

    def __init__(
        self,
        plan: Runnable,
        sessions: "tuple[onnxruntime.InferenceSession, ...]",
        *,
        codecs: InputCodecs | None = None,
    ) -> None:
        self._plan = plan
        self._steps = [open_step(part.file, session) for part, session in zip(plan.parts, sessions, strict=True)]
        self._input_types = InputTypes(plan.model, sessions)
        self.part_s: tuple[float, ...] = ()
        """Wall time of each part in the last run, in seconds."""
        self.run_s = 0.0
        """Wall time of the last run, in seconds: the parts, encoding and decoding, and what is between them."""
        self._codecs = codecs
        self._on_server = {one for stage in plan.stages if stage.machine == "server" for one in stage.parts}
        self._outputs_on_server = isinstance(plan, Plan) and plan.output_on == "server"
        read = {name for number in self._on_server for name in self._steps[number].inputs}
        if self._outputs_on_server:
            read |= set(plan.model.output_names)
        self._encoded = [name for name in codecs.names if name in read] if codecs is not None else []
        self._last_use = {name: number for number, step in enumerate(self._steps) for name in step.inputs}

    def __repr__(self) -> str:
        return f"<SplitSession of {self._plan.model.name!r}, {len(self._steps)} parts>"

    def close(self) -> None:
        """Release the runtime's sessions; the session cannot run afterwards."""
        self._steps = []

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
            A missing or unknown input, another type or shape than the model's, a codec that fails, or a closed session.
        """
        if not self._steps:
            raise InputError("this session is closed; open another with plan.session()")
        begun_s = time.perf_counter()
        self._input_types.check(inputs)
        values: dict[str, Any] = dict(inputs)
        outputs = self._plan.model.output_names
        decoded = self._decoded(values)
        part_s = []
        for number, step in enumerate(self._steps):
            before = time.perf_counter()
            try:
                own = values | decoded if decoded and number in self._on_server else values
                produced = step.run({name: own[name] for name in step.inputs})
            except InputError:
                raise
            except Exception as error:  # the runtime's exceptions share no public base class
                raise InputError(f"{step.name} failed in onnxruntime: {runtime_reason(error)}") from error
            part_s.append(time.perf_counter() - before)
            values.update(zip(step.outputs, produced, strict=True))
            for name in step.inputs:
                # Release what no later part reads, as the two machines would.
                if self._last_use[name] == number and name not in outputs:
                    del values[name]
        self.part_s = tuple(part_s)
        if self._outputs_on_server:
            values |= decoded
        self.run_s = time.perf_counter() - begun_s
        return {name: values[name] for name in outputs}

    def _decoded(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the server gets to see of the inputs that travel encoded."""
        found: dict[str, Array] = {}
        for name in self._encoded:
            assert self._codecs is not None
            found[name] = self._codecs.decode(name, self._codecs.encode(name, values[name]))
            self._input_types.check_one(name, found[name], what="decoded input")
        return found


class InputTypes:
    """Which arrays a model takes, as its parts tell."""

    def __init__(self, model: ModelInfo, sessions: "Iterable[onnxruntime.InferenceSession]") -> None:
        self._names = model.input_names
        self._types: dict[str, tuple[Any, list[Any]]] = {}
        for session in sessions:
            for value in session.get_inputs():
                if value.name in self._names:
                    self._types.setdefault(value.name, (_numpy_type(value.type), list(value.shape)))
        for handed in model.inputs:
            # No part reads it, so no part tells its type.
            self._types.setdefault(handed.name, (_numpy_type(handed.dtype), _planned_dims(model, handed)))

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Refuse inputs that are missing or unknown, or of another type or shape than the model's."""
        wanted = self._names
        unknown = next((name for name in inputs if name not in wanted), None)
        if unknown is not None:
            raise InputError(f"input '{unknown}' is not in the model; its inputs are {', '.join(wanted)}")
        for name in wanted:
            if name not in inputs:
                raise InputError(f"input '{name}' is missing; the model's inputs are {', '.join(wanted)}")
            self.check_one(name, inputs[name])

    def check_one(self, name: str, value: Array, *, what: str = "input") -> None:
        """Refuse an array of another type or shape than the model's input of a name has."""
        if not isinstance(value, np.ndarray):
            raise InputError(f"{what} '{name}' is a {type(value).__name__}; pass a numpy array")
        numpy_type, dims = self._types[name]
        if numpy_type is None:
            return
        # Compared as a whole: the runtime would read swapped bytes as they lie.
        texts = numpy_type is np.object_ and value.dtype.kind == "U"
        if value.dtype != np.dtype(numpy_type) and not texts:
            raise InputError(
                f"{what} '{name}' has type {value.dtype}, the model takes {np.dtype(numpy_type)}; "
                "convert it first, nothing is cast here"
            )
        fits = len(dims) == value.ndim and all(
            not isinstance(dim, int) or dim == size for dim, size in zip(dims, value.shape, strict=True)
        )
        if not fits:
            legal = [dim if isinstance(dim, int) else dim or "?" for dim in dims]
            raise InputError(f"{what} '{name}' has shape {list(value.shape)}, the model takes {legal}")


@dataclass(frozen=True, slots=True)
class Step:
    """One open part; `numpy` says whether NumPy has all the types at its edges."""

    name: str
    session: "onnxruntime.InferenceSession"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numpy: bool

    def run(self, values: Mapping[str, Any]) -> list[Any]:
        """Run the part and return its outputs in their order."""
        if self.numpy:
            produced: list[Any] = self.session.run(list(self.outputs), dict(values))
            self._check_scales(produced)
            return produced
        # bfloat16 and its kind stay in the runtime's own containers on their way from part to part.
        from graph_io.inputs import runtime_value

        wrapped = {
            # ml_dtypes writes float8_e5m2 for what ONNX calls float8e5m2.
            name: runtime_value(value, value.dtype.name.replace("_", "")) if isinstance(value, np.ndarray) else value
            for name, value in values.items()
        }
        results = self.session.run_with_ort_values(list(self.outputs), wrapped)
        types = [_numpy_type(value.data_type()) for value in results]
        produced = [value if kind is None else value.numpy() for value, kind in zip(results, types, strict=True)]
        self._check_scales(produced)
        return produced

    def _check_scales(self, produced: list[Any]) -> None:
        """Refuse what a codec made of features that are not finite; its scale shows that."""
        for name, value in zip(self.outputs, produced, strict=True):
            coded = coded_name(name)
            if coded is not None and coded[2] == "scale" and not np.all(np.isfinite(value)):
                raise InputError(
                    f"{self.name}: tensor '{coded[0]}' holds NaN or infinity, or values beyond float32, which codec "
                    f"'{coded[1]}' cannot carry; check the input, or plan without codecs"
                )


def open_step(name: str, session: "onnxruntime.InferenceSession") -> Step:
    """Wrap an open part, or a whole model, so that tensors of any type can go in and come out."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    known = all(_numpy_type(value.type) is not None for value in (*inputs, *outputs))
    return Step(name, session, tuple(one.name for one in inputs), tuple(one.name for one in outputs), known)


def _numpy_type(runtime_type: str) -> Any:
    return _NUMPY_TYPES.get(runtime_type.removeprefix("tensor(").removesuffix(")"))


def _planned_dims(model: ModelInfo, tensor: TensorInfo) -> list[int | None]:
    """Return the dimensions of an input as planned; None where the model may have left one open."""
    # A plan keeps the values of open dimensions, but not where they stand; a batch that was not given became 1.
    return [
        None if size in model.dims.values() or (axis == 0 and size == 1) else size
        for axis, size in enumerate(tensor.shape)
    ]


def open_session(
    plan: Runnable, *, threads: int | None, codecs: Mapping[str, InputCodec] | None = None
) -> SplitSession:
    """Open a plan's parts; see `Plan.session`."""
    checked = InputCodecs(plan, codecs)
    if threads is not None:
        check_threads(threads)
    return SplitSession(plan, open_parts(plan, threads=threads), codecs=checked)
