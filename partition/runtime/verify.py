"""The proof of a split: parts and whole run on the same inputs, outputs compared."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from partition.errors import InputError
from partition.plan import Plan
from partition.runtime.parts import open_part, session_options
from partition.runtime.session import Array
from partition.runtime.timing import StageTiming, time_stages
from partition.units import check_threads

if TYPE_CHECKING:
    from graph_io import Model, ModelSource

# By the least precise type that a model computes in: rounding alone may differ by a few units in the last place, since
# the runtime fuses across what is now a cut, and keeps more precision inside a fusion.
_TOLERANCES = {"float32": 1e-5, "float16": 4 * 2.0**-10, "bfloat16": 4 * 2.0**-7}


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """How far one output of the parts is from the whole model's, over all inputs tried.

    Attributes
    ----------
    name : str
    max_relative_error : float
        Maximum of |parts - whole| over the maximum of |whole|; inf if shapes, types or the places of NaN differ.
    bit_identical : bool
    depends_on_input : bool or None
        Whether different inputs gave different values; if not, the comparison of this output proves little. None if
        only one input was tried.
    """

    name: str
    max_relative_error: float
    bit_identical: bool
    depends_on_input: bool | None


@dataclass(frozen=True, slots=True, repr=False)
class Verification:
    """The result of `Plan.verify`; `stages` is empty unless they were timed."""

    outputs: tuple[OutputComparison, ...]
    n_inputs: int
    tolerance: float
    stages: tuple[StageTiming, ...] = ()

    @property
    def max_relative_error(self) -> float:
        """The largest over the outputs."""
        return max(output.max_relative_error for output in self.outputs)

    @property
    def bit_identical(self) -> bool:
        """Whether every output is the same to the bit."""
        return all(output.bit_identical for output in self.outputs)

    @property
    def depends_on_input(self) -> bool | None:
        """Whether at least one output changed with the input; None if only one input was tried."""
        known = [output.depends_on_input for output in self.outputs]
        return None if None in known else any(known)

    @property
    def ok(self) -> bool:
        """Whether every output agrees within the tolerance."""
        return self.max_relative_error <= self.tolerance

    def __repr__(self) -> str:
        return f"<Verification ok={self.ok} max_relative_error={self.max_relative_error:.3g}>"

    def __str__(self) -> str:
        verdict = (
            "bit-identical" if self.bit_identical else f"max error / max |reference| {self.max_relative_error:.2g}"
        )
        verdict += "" if self.bit_identical else f" (allowed {self.tolerance:.0e})"
        lines = [
            f"{'verified' if self.ok else 'DIFFERENT'}: parts against the whole model, "
            f"{_count(self.n_inputs, 'input')}, {_count(len(self.outputs), 'output')}: {verdict}"
        ]
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
                {
                    "name": output.name,
                    "max_relative_error": _finite(output.max_relative_error),
                    "bit_identical": output.bit_identical,
                    "depends_on_input": output.depends_on_input,
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
    wide = np.complex128 if reference.dtype.kind == "c" else np.float64
    difference = np.abs(result[finite].astype(wide) - reference[finite].astype(wide))
    if not np.all(np.isfinite(difference)):
        return float("inf")
    scale = float(np.max(np.abs(reference[finite].astype(wide)), initial=0.0))
    largest = float(np.max(difference, initial=0.0))
    if largest == 0.0:
        return 0.0
    return largest / scale if scale > 0 else float("inf")


def verify_plan(
    plan: Plan,
    model: "ModelSource | None",
    *,
    inputs: Sequence[Mapping[str, Array]] | None,
    seed: int,
    tolerance: float | None,
    threads: int | None,
    timing: bool,
) -> Verification:
    """Compare a plan's parts with its model; see `Plan.verify`."""
    from graph_io import least_precise_float

    if threads is not None:
        check_threads(threads)
    whole = _whole_model(plan, model)
    allowed = _TOLERANCES[least_precise_float(whole)] if tolerance is None else tolerance
    reference = open_part(whole.proto.SerializeToString(), "the whole model", session_options(threads=threads))
    trials = _random_inputs(plan, whole, seed) if inputs is None else list(inputs)
    if not trials:
        raise InputError("verify got no inputs; pass at least one, or leave them out for random ones")
    names = plan.model.output_names
    errors = dict.fromkeys(names, 0.0)
    same = dict.fromkeys(names, True)
    first: dict[str, Array] = {}
    changes: set[str] = set()
    with plan.session(threads=threads) as session:
        for trial in trials:
            results = session.run(trial)
            expected = dict(zip(names, reference.run(list(names), dict(trial)), strict=True))
            for name, value in expected.items():
                errors[name] = max(errors[name], relative_error(results[name], value))
                same[name] &= results[name].dtype == value.dtype and results[name].tobytes() == value.tobytes()
                if name in first and not np.array_equal(first[name], value, equal_nan=value.dtype.kind == "f"):
                    changes.add(name)
                first.setdefault(name, value)
    stages = time_stages(plan, trials[0], threads=threads) if timing else ()
    compared = tuple(
        OutputComparison(name, errors[name], bool(same[name]), name in changes if len(trials) > 1 else None)
        for name in names
    )
    return Verification(compared, len(trials), allowed, stages)


def _whole_model(plan: Plan, model: "ModelSource | None") -> "Model":
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


def _random_inputs(plan: Plan, whole: Any, seed: int) -> list[dict[str, Array]]:
    from graph_io import fix_input_dims, input_dtypes, random_inputs

    shapes, _ = fix_input_dims(whole, plan.model.dims)
    return [random_inputs(shapes, input_dtypes(whole), seed=seed + trial) for trial in range(3)]
