"""The proof of a split: parts and whole run on the same inputs, outputs compared."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from partition.errors import InputError
from partition.plan import Plan, Runnable
from partition.plan_records import PlanLoss
from partition.runtime.parts import open_part, session_options
from partition.runtime.session import Array, open_step
from partition.runtime.timing import StageTiming, time_stages
from partition.units import check_threads

if TYPE_CHECKING:
    from graph_io import Model, ModelSource, OutputStep

# By the least precise type that a model computes in: rounding alone may differ by a few units in the last place, since
# the runtime fuses across what is now a cut, and keeps more precision inside a fusion.
_TOLERANCES = {"float32": 1e-5, "float16": 4 * 2.0**-10, "bfloat16": 4 * 2.0**-7}
# A difference of one step is a whole number of steps but for the rounding of the floats that hold it.
_ONE_STEP = 1.001
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """How far one output of the parts is from the whole model's, over all inputs tried.

    Attributes
    ----------
    name : str
    max_relative_error : float
        Maximum of |parts - whole| over the maximum of |whole|; inf if shapes, types or the places of NaN differ, or
        whole numbers that nothing rounded; NaN for an output that is drawn at random.
    bit_identical : bool
    depends_on_input : bool or None
        Whether different inputs gave different values; if not, the comparison of this output proves little. None if
        only one input was tried.
    tolerance : float
        Up to which relative error it agrees.
    step : float or None
        One quantisation step of it, in its own unit, where it has one: then one step is allowed, too.
    max_steps : float or None
        The largest difference in such steps.
    rounded_inside : bool
        Whether the tolerance is a step of a quantised type that the values passed earlier, with computing in between.
    drawn : bool
        Whether it depends on values drawn at random: then only its type is compared.
    """

    name: str
    max_relative_error: float
    bit_identical: bool
    depends_on_input: bool | None
    tolerance: float
    step: float | None = None
    max_steps: float | None = None
    rounded_inside: bool = False
    drawn: bool = False

    @property
    def ok(self) -> bool:
        """Whether it agrees, or cannot be compared because it is drawn."""
        within_a_step = self.max_steps is not None and self.max_steps <= _ONE_STEP
        return self.drawn or within_a_step or self.max_relative_error <= self.tolerance

    def __str__(self) -> str:
        if self.drawn:
            return "drawn at random, not compared"
        if self.bit_identical:
            return "bit-identical"
        if self.step is not None and self.max_steps is not None and np.isfinite(self.max_steps):
            number = f"{self.max_steps:.3g}"
            return f"off by at most {number} quantisation step{'s' * (number != '1')} of {self.step:.3g} (allowed 1)"
        if not np.isfinite(self.max_relative_error):
            return "shapes, types, whole numbers or the places of NaN differ"
        where = ": one step of a quantised type inside" if self.rounded_inside else ""
        return f"max error / max |reference| {self.max_relative_error:.2g} (allowed {self.tolerance:.0e}{where})"


@dataclass(frozen=True, slots=True, repr=False)
class Verification:
    """The result of `Plan.verify`.

    Attributes
    ----------
    outputs : tuple of OutputComparison
    n_inputs : int
    tolerance : float
        The one for floats that nothing quantised; each output has its own.
    stages : tuple of StageTiming
        Empty unless they were timed.
    """

    outputs: tuple[OutputComparison, ...]
    n_inputs: int
    tolerance: float
    stages: tuple[StageTiming, ...] = ()

    @property
    def compared(self) -> tuple[OutputComparison, ...]:
        """The outputs that are not drawn at random; at least one."""
        return tuple(output for output in self.outputs if not output.drawn)

    @property
    def max_relative_error(self) -> float:
        """The largest over the outputs that were compared."""
        return max(output.max_relative_error for output in self.compared)

    @property
    def bit_identical(self) -> bool:
        """Whether every output that was compared is the same to the bit."""
        return all(output.bit_identical for output in self.compared)

    @property
    def depends_on_input(self) -> bool | None:
        """Whether at least one of these outputs changed with the input; None if only one input was tried."""
        known = [output.depends_on_input for output in self.compared]
        return None if None in known else any(known)

    @property
    def ok(self) -> bool:
        """Whether every output agrees within its tolerance."""
        return all(output.ok for output in self.outputs)

    def __repr__(self) -> str:
        return f"<Verification ok={self.ok} max_relative_error={self.max_relative_error:.3g}>"

    def __str__(self) -> str:
        # The worst of what is wrong, or else of what is right: the headline is about that one.
        worst = max(self.compared, key=lambda one: (not one.ok, one.max_relative_error / max(one.tolerance, 1e-300)))
        lines = [
            f"{'verified' if self.ok else 'DIFFERENT'}: parts against the whole model, "
            f"{_count(self.n_inputs, 'input')}, {_count(len(self.compared), 'output')}: {worst}"
        ]
        wrong = [output for output in self.compared if not output.ok]
        if wrong and len(self.compared) > 1:
            lines += [f"  output '{output.name}': {output}" for output in wrong[:_SHOWN]]
            lines += [f"  and {len(wrong) - _SHOWN} more outputs"] if len(wrong) > _SHOWN else []
        drawn = [output.name for output in self.outputs if output.drawn]
        if drawn:
            lines.append(f"note: not compared, since they are drawn at random: {', '.join(drawn)}")
        if self.depends_on_input is False:
            lines.append("note: the outputs did not change with the input, so this comparison proves little")
        lines += [str(stage) for stage in self.stages]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the content as plain JSON values; an infinite error is null."""
        return {
            "ok": self.ok,
            "n_inputs": self.n_inputs,
            "tolerance": self.tolerance,
            "bit_identical": self.bit_identical,
            "depends_on_input": self.depends_on_input,
            "outputs": [
                asdict(output)
                | {
                    "ok": output.ok,
                    "max_relative_error": _finite(output.max_relative_error),
                    "max_steps": None if output.max_steps is None else _finite(output.max_steps),
                }
                for output in self.outputs
            ],
            "stages": [asdict(stage) for stage in self.stages],
        }


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def relative_error(result: Array, reference: Array) -> float:
    """Return max |result - reference| / max |reference|; inf where shape, type, NaN or infinities differ."""
    if result.shape != reference.shape or result.dtype != reference.dtype:
        return float("inf")
    if np.array_equal(result, reference):
        return 0.0
    if reference.dtype.kind not in "fc":
        return float("inf")
    finite = np.isfinite(reference)
    if not np.array_equal(result[~finite], reference[~finite], equal_nan=True):
        return float("inf")
    difference = _distance(result[finite], reference[finite])
    if not np.all(np.isfinite(difference)):
        return float("inf")
    scale = float(np.max(_distance(reference[finite], np.zeros_like(reference[finite])), initial=0.0))
    largest = float(np.max(difference, initial=0.0))
    if largest == 0.0:
        return 0.0
    return largest / scale if scale > 0 else float("inf")


def _distance(one: Array, other: Array) -> Array:
    wide = np.complex128 if one.dtype.kind == "c" else np.float64
    distance: Array = np.abs(one.astype(wide) - other.astype(wide))
    return distance


def refuse_draws(whole: "Model", outputs: Sequence[str]) -> frozenset[str]:
    """Return the outputs that a model draws at random, some of its outputs at most.

    Raises
    ------
    InputError
        It draws all of them.
    """
    from graph_io import drawn_outputs

    drawn = drawn_outputs(whole)
    if drawn.issuperset(outputs):
        raise InputError(
            f"model '{whole.name}' draws all of its outputs at random, so no two runs of it can be compared; "
            "leave out verifying (--verify)"
        )
    return drawn


def verify_plan(
    plan: Runnable,
    model: "ModelSource | None",
    *,
    inputs: Sequence[Mapping[str, Array]] | None,
    seed: int,
    tolerance: float | None,
    threads: int | None,
    timing: bool,
) -> Verification:
    """Compare a plan's parts with its model; see `Plan.verify`."""
    try:
        from graph_io import least_precise_float, output_steps, runtime_reason
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "graph_io":
            raise
        raise InputError(
            f"verifying reads the whole model, for which the package '{error.name}' is not installed; "
            "install it, or verify where the plan is made"
        ) from error

    if threads is not None:
        check_threads(threads)
    whole = _whole_model(plan, model)
    names = plan.model.output_names
    drawn = refuse_draws(whole, names)
    if tolerance is None and isinstance(plan, Plan) and plan.loss is not None:
        tolerance = max(_stated_error(plan.loss), _TOLERANCES[least_precise_float(whole)])
    allowed = _TOLERANCES[least_precise_float(whole)] if tolerance is None else tolerance
    steps = output_steps(whole) if tolerance is None else {}
    options = session_options(threads=threads, weights=whole.weights)
    reference = open_step("the whole model", open_part(whole.proto.SerializeToString(), "the whole model", options))
    trials = _own_inputs(plan, seed) if inputs is None else list(inputs)
    if not trials:
        raise InputError("verify got no inputs; pass at least one, or leave them out for random ones")
    judges = {name: _Judge(name, steps.get(name), name in drawn) for name in names}
    comparable = _Comparable()
    with plan.session(threads=threads) as session:
        for trial in trials:
            results = session.run(trial)
            try:
                wanted = reference.run({name: trial[name] for name in reference.inputs})
            except Exception as error:  # the runtime's exceptions share no public base class
                raise InputError(f"{reference.name} failed in onnxruntime: {runtime_reason(error)}") from error
            expected = dict(zip(reference.outputs, wanted, strict=True))
            for name, judge in judges.items():
                judge.see(comparable(results[name]), comparable(expected[name]))
    stages = time_stages(plan, trials[0], threads=threads) if timing and isinstance(plan, Plan) else ()
    compared = tuple(judge.verdict(allowed, len(trials)) for judge in judges.values())
    return Verification(compared, len(trials), allowed, stages)


def _stated_error(loss: PlanLoss) -> float:
    """Return how far a plan says that codecs may move its outputs, relative to the largest value of each."""
    return loss.max_loss if loss.metric == "max-relative-error" else loss.output_error


@dataclass(slots=True)
class _Judge:
    """Collects, over the inputs tried, how far one output is off."""

    name: str
    step: "OutputStep | None"
    drawn: bool
    error: float = 0.0
    n_steps: float = 0.0
    same: bool = True
    whole_numbers: bool = False
    changes: bool = False
    first: Array | None = field(default=None)

    def see(self, result: Array, reference: Array) -> None:
        alike = result.dtype == reference.dtype
        # Arrays of strings hold addresses.
        texts = alike and reference.dtype.kind == "O"
        self.same &= np.array_equal(result, reference) if texts else alike and result.tobytes() == reference.tobytes()
        if self.drawn:
            if not alike:
                raise InputError(f"output '{self.name}' has type {result.dtype} in the parts, {reference.dtype} whole")
            return
        self.whole_numbers = reference.dtype.kind not in "fc"
        size = None if self.step is None else self.step.size
        if size is not None and alike and reference.dtype.kind in "iu":
            # One step apart is right here, so these whole numbers are measured like floats.
            result, reference = result.astype(np.float64), reference.astype(np.float64)
        error = relative_error(result, reference)
        self.error = max(self.error, error)
        if size is not None and error > 0:
            finite = np.isfinite(reference) if np.isfinite(error) and size > 0 else None
            apart = np.inf if finite is None else np.max(_distance(result[finite], reference[finite]))
            self.n_steps = max(self.n_steps, float(apart) / size if size > 0 else np.inf)
        if self.first is None:
            self.first = reference
        elif not np.array_equal(self.first, reference, equal_nan=reference.dtype.kind in "fc"):
            self.changes = True

    def verdict(self, allowed: float, n_inputs: int) -> OutputComparison:
        depends = self.changes if n_inputs > 1 else None
        if self.drawn:
            return OutputComparison(self.name, float("nan"), self.same, depends, allowed, drawn=True)
        size = None if self.step is None else self.step.size
        inside = self.step is not None and size is None and not self.whole_numbers and self.step.relative > allowed
        tolerance = self.step.relative if inside and self.step is not None else allowed
        return OutputComparison(
            self.name,
            self.error,
            self.same,
            depends,
            0.0 if self.whole_numbers else tolerance,
            step=size,
            max_steps=None if size is None else self.n_steps,
            rounded_inside=inside,
        )


class _Comparable:
    """Turns what a session put out into an array: a type that NumPy has not becomes float32, which loses nothing."""

    def __init__(self) -> None:
        self._sessions: dict[str, Any] = {}

    def __call__(self, value: Any) -> Array:
        if isinstance(value, np.ndarray):
            return value if value.dtype.kind != "V" else value.astype(np.float32)
        from graph_io import WIDENED_INPUT, WIDENED_OUTPUT, widening_model

        kind = value.data_type()
        if kind not in self._sessions:
            self._sessions[kind] = open_part(widening_model(kind), f"a cast of {kind}", session_options(threads=1))
        (wide,) = self._sessions[kind].run_with_ort_values([WIDENED_OUTPUT], {WIDENED_INPUT: value})
        array: Array = wide.numpy()
        return array


def _whole_model(plan: Runnable, model: "ModelSource | None") -> "Model":
    from graph_io import load_model, structure_sha256

    if model is None and not isinstance(plan.source, Path):
        made_from: Model = plan.source.graph["model"]
        return made_from
    source = model if model is not None else plan.model.path
    if source is None:
        raise InputError("this plan was made from a model in memory; pass the whole model (--model FILE)")
    if model is None and not Path(plan.model.path or "").is_file():
        raise InputError(f"model '{plan.model.path}' is no longer there; pass the whole model (--model FILE)")
    whole = load_model(source)
    if structure_sha256(whole.proto) != plan.model.structure_sha256:
        label = whole.path or whole.name
        raise InputError(f"model '{label}' is not the one that this plan was made for; pass that one (--model FILE)")
    return whole


def _own_inputs(plan: Runnable, seed: int) -> list[dict[str, Array]]:
    """Make three inputs: those that the plan was made with and variations of them, or random ones."""
    from graph_io import random_inputs, varied_inputs

    given = None if isinstance(plan.source, Path) else plan.source.graph["given_inputs"]
    if given is not None:
        return varied_inputs(given, seed=seed)
    shapes = {one.name: one.shape for one in plan.model.inputs}
    dtypes = {one.name: one.dtype for one in plan.model.inputs}
    return [random_inputs(shapes, dtypes, seed=seed + trial) for trial in range(3)]
