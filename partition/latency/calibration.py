"""What a calibration found, as kept in a machine file: timed kernels, the regressions fitted to them, and overheads."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NoReturn

from partition.errors import InputError
from partition.files import FieldReader
from partition.latency.baselines import BASELINES, Regression
from partition.latency.gaussian_process import Hyperparameters
from partition.latency.kernel_groups import describe
from partition.latency.overhead import Overhead
from partition.latency.regression import NAME, GroupFit, TermsAndProcess
from partition.load.model import LoadModel

REGRESSIONS = (NAME, *(name for name in BASELINES if not name.endswith("-dynamic")))
"""Names of the regressions that a calibrated machine can predict with; the first is the library's own.

Wang's with dynamic features are not among them: a calibration runs on a machine at rest, where these do not vary. They
are in `partition.latency.baselines.BASELINES`, for rows that were timed under load.
"""
# More than any kernel has of anything; beyond it a hand slipped.
_LARGEST_SIZE = 1e18
_LEAST_ONE = ("batch", "groups", "dilation", "seq", "hidden_size", "directions", "resident_bytes")
_LEAST_ONE_PREFIXES = ("in_", "out_", "kernel_", "stride_")


@dataclass(frozen=True, slots=True)
class TimedFeatures:
    """Static features of a kernel that was timed; see `graph_io.KernelFeatures`."""

    kind: str
    op_type: str
    values: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True, slots=True)
class TimedKernel:
    """One kernel of a calibration.

    Attributes
    ----------
    features : TimedFeatures
    threads : int
    seconds : float
        The middle of the runs, without what the profiler adds.
    spread_s : float
        Interquartile range.
    dynamic : mapping of str to float
        State of the machine meanwhile, for the regressions with dynamic features; empty on a machine at rest.
    """

    features: TimedFeatures
    threads: int
    seconds: float
    spread_s: float
    dynamic: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Timed kernels and what was fitted to them.

    Attributes
    ----------
    suite : int
        Version of the micro-benchmarks.
    share : float
        How much of the suite was run, above 0 and at most 1.
    rows : tuple of TimedKernel
    fits : mapping of (int, str) to GroupFit
        By threads and group of kernels.
    overheads : tuple of Overhead
        By threads.
    load_models : tuple of LoadModel
        How other work slows this machine down, by threads; empty where that was not calibrated.
    """

    suite: int
    share: float
    rows: tuple[TimedKernel, ...]
    fits: Mapping[tuple[int, str], GroupFit]
    overheads: tuple[Overhead, ...]
    load_models: tuple[LoadModel, ...] = ()

    @property
    def threads(self) -> tuple[int, ...]:
        """The numbers of threads that were calibrated, ascending."""
        return tuple(sorted(one.threads for one in self.overheads))

    @cached_property
    def own_regression(self) -> TermsAndProcess:
        """The library's own regression."""
        return TermsAndProcess(self.rows, self.fits)

    def group_sizes(self) -> dict[tuple[int, str], int]:
        """Return by threads and group how many kernels were timed."""
        return dict(Counter((row.threads, describe(row.features).group) for row in self.rows))

    def overhead(self, threads: int) -> Overhead:
        """Return the overhead at a number of threads."""
        return next(one for one in self.overheads if one.threads == threads)

    def regression(self, name: str = NAME) -> Regression:
        """Return a regression by its name, one of `REGRESSIONS`; a published one is fitted to the rows here."""
        if name == NAME:
            return self.own_regression
        if name not in REGRESSIONS:
            raise InputError(f"regression {name!r} is unknown; use one of {', '.join(REGRESSIONS)}")
        return BASELINES[name](self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the field ``calibration`` of a machine file."""
        tables: dict[tuple[int, str, str, tuple[str, ...]], list[list[float]]] = {}
        for row in self.rows:
            names = tuple(row.features.values)
            table = tables.setdefault((row.threads, row.features.kind, row.features.op_type, names), [])
            table.append([*map(_shortest, row.features.values.values()), row.seconds, row.spread_s])
        return {
            "suite": self.suite,
            "share": self.share,
            "overheads": [asdict(one) for one in self.overheads],
            "load_models": [one.to_json() for one in self.load_models],
            "tables": [
                {"threads": threads, "kind": kind, "op_type": op_type, "columns": list(names), "rows": rows}
                for (threads, kind, op_type, names), rows in tables.items()
            ],
            "fits": [
                {
                    "threads": threads,
                    "group": group,
                    "rates": list(fit.rates),
                    "offset": fit.offset,
                    "process": None
                    if fit.process is None
                    else {
                        "lengths": list(fit.process.lengths),
                        "amplitude": fit.process.amplitude,
                        "noise": fit.process.noise,
                    },
                    "deviation": fit.deviation,
                    "error": None if math.isnan(fit.error) else fit.error,
                }
                for (threads, group), fit in self.fits.items()
            ],
        }

    @classmethod
    def from_json(cls, fields: FieldReader) -> "Calibration":
        """Read the field ``calibration`` of a machine file.

        Raises
        ------
        InputError
            A field that is missing, unknown or out of range; rows without a fit, or of threads without an overhead.
        """
        share = fields.positive("share")
        if share > 1:
            fields.refuse("share", share, "a share, above 0 and at most 1")
        calibration = cls(
            suite=fields.count("suite"),
            share=share,
            overheads=_read_overheads(fields),
            rows=_read_tables(fields),
            fits=_read_fits(fields),
            load_models=tuple(LoadModel.from_json(one, one.source) for one in fields.objects("load_models")),
        )
        fields.finish()
        _check_consistent(calibration, fields.source)
        return calibration


def _shortest(size: float) -> int | float:
    """Return a size as a whole number where it is one, as nearly all are."""
    return int(size) if size.is_integer() else size


def _check_consistent(calibration: Calibration, source: str) -> None:
    def refuse(problem: str) -> NoReturn:
        raise InputError(f"{source}: {problem}; calibrate again: dnn-partition calibrate -o FILE")

    timed = {row.threads for row in calibration.rows}
    if timed != set(calibration.threads) or len(calibration.threads) < len(calibration.overheads):
        refuse("its rows and its overheads are of different numbers of threads")
    try:
        regression = calibration.own_regression
    except (KeyError, ValueError, ArithmeticError) as error:
        refuse(f"its rows and fits do not belong together ({error})")
    left = next((key for key in calibration.fits if key not in regression.fits), None)
    if left is not None:
        refuse(f"there is a fit of {left[1]!r} at {left[0]} threads, but no rows")


def _read_overheads(fields: FieldReader) -> tuple[Overhead, ...]:
    overheads = []
    for one in fields.objects("overheads"):
        overheads.append(
            Overhead(
                threads=one.count("threads"),
                call_s=one.non_negative("call_s"),
                profiler_s=one.non_negative("profiler_s"),
            )
        )
        one.finish()
    if not overheads:
        fields.refuse("overheads", [], "at least one")
    return tuple(overheads)


def _read_tables(fields: FieldReader) -> tuple[TimedKernel, ...]:
    rows: list[TimedKernel] = []
    for one in fields.objects("tables"):
        threads, kind, op_type, columns = (
            one.count("threads"),
            one.text("kind"),
            one.text("op_type"),
            one.texts("columns"),
        )
        content = one.take("rows")
        one.finish()
        if not isinstance(content, list):
            one.refuse("rows", content, "a list of rows")
        for number, numbers in enumerate(content):
            if not _are_numbers(numbers, len(columns) + 2) or numbers[-2] <= 0:
                one.refuse(
                    f"rows[{number}]",
                    numbers,
                    f"{len(columns) + 2} finite numbers, 0 or more: the columns, then seconds above 0 and their spread",
                )
            values = dict(zip(columns, map(float, numbers), strict=False))
            odd = next((name for name, size in values.items() if not _is_size(name, size)), None)
            if odd is not None:
                one.refuse(f"rows[{number}].{odd}", values[odd], "a size that a kernel can have")
            rows.append(
                TimedKernel(TimedFeatures(kind, op_type, values), threads, float(numbers[-2]), float(numbers[-1]))
            )
    if not rows:
        fields.refuse("tables", [], "at least one row in one table")
    return tuple(rows)


def _is_size(name: str, size: float) -> bool:
    limit = 1e6 if name.startswith("kernel_") else _LARGEST_SIZE
    return (1 if name in _LEAST_ONE or name.startswith(_LEAST_ONE_PREFIXES) else 0) <= size <= limit


def _are_numbers(values: object, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
        and all(0 <= one <= _LARGEST_SIZE for one in values)
    )


def _read_fits(fields: FieldReader) -> dict[tuple[int, str], GroupFit]:
    fits: dict[tuple[int, str], GroupFit] = {}
    for one in fields.objects("fits"):
        key = (one.count("threads"), one.text("group"))
        process = one.optional_object("process")
        fit = GroupFit(
            rates=_read_numbers(one, "rates"),
            offset=one.real("offset"),
            process=None if process is None else _read_process(process),
            deviation=one.positive("deviation"),
            error=_read_error(one),
        )
        one.finish()
        if key in fits:
            one.refuse("group", key[1], "one fit for each group and number of threads")
        fits[key] = fit
    return fits


def _read_error(fields: FieldReader) -> float:
    value = fields.take("error")
    if value is None:
        return math.nan
    if not _are_numbers([value], 1):
        fields.refuse("error", value, "a finite number, 0 or more, or null")
    return float(value)


def _read_process(fields: FieldReader) -> Hyperparameters:
    process = Hyperparameters(_read_numbers(fields, "lengths"), fields.positive("amplitude"), fields.positive("noise"))
    fields.finish()
    if not all(length > 0 for length in process.lengths):
        fields.refuse("lengths", list(process.lengths), "numbers above 0")
    return process


def _read_numbers(fields: FieldReader, name: str) -> tuple[float, ...]:
    values = fields.take(name)
    if not isinstance(values, list) or not _are_numbers(values, len(values)):
        fields.refuse(name, values, "a list of finite numbers, 0 or more")
    return tuple(map(float, values))
