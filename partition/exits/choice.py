"""The function that a user calls: exits, a link and two machines in; the best policy within a deadline out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, floor, log10, sqrt
from os import PathLike
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from partition.errors import InputError
from partition.exits.family import ExitFamily, ModelsLike, Way
from partition.exits.front import loss_of
from partition.exits.machines import SegmentMachine, SegmentMachineLike, find_machine
from partition.exits.policy import AccuracySource, ExitHead, ExitPolicy, TradeOff
from partition.exits.pricing import PricedWay, Pricing
from partition.exits.selection import Option, Policy, choose, option_of, tradeoff, within
from partition.exits.table import ExitTable, load_exits
from partition.exits.thresholds import Reals, ThresholdRules, most_thresholds, threshold_rules
from partition.links import Link
from partition.units import format_duration, parse_duration

if TYPE_CHECKING:
    from partition.api import Method
    from partition.load.reading import LoadReading
    from partition.problem import OutputOn

DEFAULT_MARGIN = 0.1


def choose_exit(
    models: ModelsLike,
    bandwidth: str | float | Link,
    *,
    exits: "ExitTable | str | PathLike[str]",
    deadline: str | float | None = None,
    accuracy: float | None = None,
    margin: float = DEFAULT_MARGIN,
    rtt: str | float | None = None,
    downlink: str | float | None = None,
    device: SegmentMachineLike = "raspberry-pi-4",
    server: SegmentMachineLike = "xeon-server",
    output_on: "OutputOn" = "device",
    dims: Mapping[str, int] | None = None,
    input_bytes: Mapping[str, int | str] | None = None,
    keep_inputs: bool = False,
    threads: Mapping[str, int] | None = None,
    load: "Mapping[str, float | str | LoadReading] | None" = None,
    max_server_visits: int | None = 1,
    method: "Method" = "auto",
) -> ExitPolicy:
    """Choose exits, their thresholds, and cut and codecs of what remains, together.

    Parameters
    ----------
    models : path, onnx.ModelProto, mapping or ExitFamily
        One model whose outputs are the exits, or several models by the names of their exits.
    bandwidth, rtt, downlink
        The link, as for `partition`.
    exits : ExitTable or path
        What `calibrate_exits` measured on these exits, or `given_exits` was told, or its file.
    deadline : str or float, optional
        ``"100ms"``, or seconds: the slowest way of the policy has to fit. Without `accuracy` the most accurate policy
        within it is taken.
    accuracy : float, optional
        The least accuracy, 0 to 1: the policy of least expected latency that has it is taken.
    margin : float
        The share of the deadline that is kept free for what no prediction knows, 0 or more and below 1.
    device, server : str, path, Machine, Timings or a sequence of timings
        As for `partition`; or the timings of the segments, as a sequence or as the folder that holds their files: each
        segment takes the one that was measured on its structure.
    output_on, dims, input_bytes, keep_inputs, threads, load, max_server_visits, method
        As for `partition`. An exit of the device answers there, so with ``output_on="server"`` none is decided on it.

    Returns
    -------
    ExitPolicy

    Raises
    ------
    InputError, graph_io.ModelError, solvers.SolverError
        Neither deadline nor accuracy; one that nothing meets; a table of other models; a segment that was not measured;
        what `partition` refuses.

    Notes
    -----
    Exits of the device are decided there, and nothing is sent before it is needed. So the expected latency is a sum
    that the cut has no part in, plus the latency of the rest times its share: the best cut, with its codecs, does not
    depend on the thresholds. One placement problem is solved for each way to use the exits, and its plans are combined
    with all thresholds that are tried.
    """
    from partition.load.model import parse_load

    deadline_s = None if deadline is None else parse_duration(deadline, what="deadline")
    _check_request(deadline_s, accuracy, margin)
    table = exits if isinstance(exits, ExitTable) else load_exits(exits)
    _check_codecs(table)
    link = Link.parse(bandwidth, downlink=downlink, rtt=rtt)
    machines = {"device": find_machine(device, "device"), "server": find_machine(server, "server")}
    family = family_of(models, table)
    table.check(family)
    _check_inputs(family, input_bytes or {})
    _check_shapes(family, table, dims or {})
    used = dict(threads or {})
    pricing = Pricing(
        family=family,
        link=link,
        device=machines["device"],
        server=machines["server"],
        codecs=table.codecs,
        output_on=output_on,
        dims=dict(dims or {}),
        input_bytes=dict(input_bytes or {}),
        keep_inputs=keep_inputs,
        threads=used,
        loads={
            role: parse_load(value, name=f"load of the {role}", threads=used.get(role, _threads(machines, role)))
            for role, value in (load or {}).items()
        },
        max_server_visits=max_server_visits,
        method=method,
    )
    ways = [way for way in family.ways() if _usable(way, table, output_on)]
    priced = [pricing.price(way) for way in ways]
    rules = [_rules(table, way) for way in ways]
    options = [
        option_of(
            number,
            at,
            (*one.stop_s, (one.stop_s[-1] if one.stop_s else 0.0) + plan.latency_s),
            rules[number],
            loss=loss_of(plan),
            measured=plan.loss is None or plan.loss.measured,
        )
        for number, one in enumerate(priced)
        for at, plan in enumerate(one.plans)
    ]
    return _Choice(family, table, priced, options, deadline_s, accuracy, margin, dims, output_on).policy()


class _Choice:
    """The policies of a family, priced, and the one that is asked for."""

    def __init__(
        self,
        family: ExitFamily,
        table: ExitTable,
        priced: Sequence[PricedWay],
        options: Sequence[Option],
        deadline_s: float | None,
        accuracy: float | None,
        margin: float,
        dims: Mapping[str, int] | None,
        output_on: str,
    ) -> None:
        self._family, self._table, self._priced, self._options = family, table, priced, options
        self._deadline_s, self._accuracy, self._margin = deadline_s, accuracy, margin
        self._dims, self._output_on = dims, output_on

    def policy(self) -> ExitPolicy:
        """Choose one; where codecs made its accuracy a bound, it is measured, and the choice looked at again."""
        from partition.exits.joint import measured_accuracy

        limit_s = None if self._deadline_s is None else self._deadline_s * (1 - self._margin)
        numbers = within(self._options, limit_s)
        if not numbers:
            self._refuse_deadline()
        while True:
            front = tradeoff(self._options, numbers)
            chosen = choose(self._options, front, self._accuracy)
            if chosen is None:
                self._refuse_accuracy(front)
            option = self._options[chosen.option]
            policy = self._policy(chosen, front)
            if not option.floor[chosen.rule]:
                return policy
            found = measured_accuracy(self._family, self._table, policy, dims=self._dims)
            if isinstance(found, str):
                loss = policy.plan.loss
                bound = "is a lower bound"
                if loss is not None and not loss.measured:
                    bound = "assumes that codecs at once change no more answers than the sum of what each changes alone"
                note = f"the accuracy {bound}, not measured with the codecs of this policy: {found}"
                return replace(policy, assumptions=(*policy.assumptions, note))
            option.accuracy[chosen.rule], option.floor[chosen.rule] = found, False

    def _policy(self, chosen: Policy, front: Sequence[Policy]) -> ExitPolicy:
        from partition.assembly import describe_parts, versions

        option = self._options[chosen.option]
        way, rules = self._priced[option.way], option.rules
        thresholds, shares = rules.thresholds[chosen.rule], rules.shares[chosen.rule]
        heads = tuple(
            ExitHead(
                exit=name,
                output=output,
                threshold=float(threshold),
                share=float(share),
                stop_latency_s=stop_s,
                part=describe_parts(head.graph, [tuple(head.graph)], [f"head-{number}.onnx"])[0],
            )
            for number, (name, output, threshold, share, stop_s, head) in enumerate(
                zip(way.way.device_exits, way.head_outputs, thresholds, shares[:-1], way.stop_s, way.heads, strict=True)
            )
        )
        accuracy = float(option.accuracy[chosen.rule])
        n_inputs = self._table.n_inputs or None
        return ExitPolicy(
            name=self._family.name,
            joint=self._family.joint,
            exits=self._family.names,
            confidence=self._table.confidence,
            heads=heads,
            final=way.way.final,
            final_output=way.output,
            rest_share=float(shares[-1]),
            plan=way.plans[option.plan],
            accuracy=accuracy,
            accuracy_standard_error=None if n_inputs is None else sqrt(max(accuracy * (1 - accuracy), 0.0) / n_inputs),
            accuracy_source=self._source(chosen),
            n_inputs=n_inputs,
            data=None if self._table.data is None else str(self._table.data),
            deadline_s=self._deadline_s,
            accuracy_bound=self._accuracy,
            margin=self._margin,
            tradeoff=tuple(self._point(one) for one in front),
            assumptions=self._notes(way, rules),
            source=tuple(head.graph for head in way.heads),
            **versions(),
        )

    def _source(self, chosen: Policy) -> AccuracySource:
        if not self._table.measured:
            return "given"
        return "floor" if self._options[chosen.option].floor[chosen.rule] else "measured"

    def _point(self, one: Policy) -> TradeOff:
        option = self._options[one.option]
        way = self._priced[option.way]
        return TradeOff(
            device_exits=way.way.device_exits,
            thresholds=tuple(option.rules.thresholds[one.rule].tolist()),
            final=way.way.final,
            cut=way.plans[option.plan].cut,
            expected_latency_s=float(option.expected_s[one.rule]),
            slowest_latency_s=option.slowest_s,
            accuracy=float(option.accuracy[one.rule]),
            accuracy_source=self._source(one),
        )

    def _notes(self, way: PricedWay, rules: ThresholdRules) -> tuple[str, ...]:
        notes = [*self._table.notes, *way.notes]
        n_exits = len(way.heads)
        if not rules.complete:
            notes.append(
                f"{most_thresholds(n_exits)} of the measured confidences of each exit were tried as its threshold, "
                "evenly by rank"
            )
        if n_exits:
            notes.append("thresholds were chosen on the same inputs that tell shares and accuracy")
        if self._output_on == "server":
            notes.append("the outputs are wanted on the server, so no exit is decided on the device")
        known = set(way.plans[0].assumptions)
        return tuple(dict.fromkeys(one for one in notes if one not in known))

    def _refuse_deadline(self) -> NoReturn:
        assert self._deadline_s is not None
        nearest = min(self._options, key=lambda one: one.slowest_s)
        kept = f" with {self._margin:.3g} of it kept free" if self._margin else ""
        raise InputError(
            f"no policy meets the deadline of {format_duration(self._deadline_s)}{kept}: the fastest slowest way is "
            f"that of {self._priced[nearest.way].way}, {format_duration(nearest.slowest_s)}; give a deadline of "
            f"{format_duration(_rounded_up(nearest.slowest_s / (1 - self._margin)))} or more, or a faster link"
        )

    def _refuse_accuracy(self, front: Sequence[Policy]) -> NoReturn:
        best = self._point(front[-1])
        inside, or_else = ("", "") if self._deadline_s is None else (" within the deadline", ", or a longer deadline")
        # Rounded down, so that what is told may be asked for.
        nearest = floor(round(best.accuracy * 1e4, 8)) / 1e4
        raise InputError(
            f"no policy has an accuracy of {self._accuracy:g}{inside}: the best is {nearest:.4g}, of "
            f"{Way(best.device_exits, best.final)}; give at most that{or_else}"
        )


def _rounded_up(seconds: float) -> float:
    """Round to the four digits that are printed, and never below."""
    step = 10.0 ** (floor(log10(seconds)) - 3)
    return ceil(seconds / step * (1 + 1e-9)) * step


def _check_request(deadline_s: float | None, accuracy: float | None, margin: float) -> None:
    if deadline_s is None and accuracy is None:
        raise InputError(
            "neither deadline nor accuracy is given; give a deadline ('100ms') for the most accurate policy within it, "
            "an accuracy (0.95) for the fastest that has it, or both"
        )
    if deadline_s is not None and deadline_s <= 0:
        raise InputError(f"deadline is {deadline_s!r} s; give a time above 0")
    if accuracy is not None and (not _is_number(accuracy) or not 0 <= accuracy <= 1):
        raise InputError(f"accuracy is {accuracy!r}; give a number from 0 to 1")
    if not _is_number(margin) or not 0 <= margin < 1:
        raise InputError(f"margin is {margin!r}; give the share of the deadline to keep free, 0 or more and below 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_codecs(table: ExitTable) -> None:
    """Refuse losses of codecs that say nothing of the accuracy."""
    for way, codecs in table.codecs.items():
        if table.score != "top-1" or codecs.metric != "top-1":
            raise InputError(
                f"the exits file is scored by '{table.score}' and has codecs for '{way}' by '{codecs.metric}': how "
                "much accuracy these cost is known where both are 'top-1'; calibrate the exits so, or without codecs"
            )
        if codecs.data.n_inputs != table.n_inputs:
            raise InputError(
                f"the exits file has {table.n_inputs} inputs, and codecs for '{way}' of {codecs.data.n_inputs}; "
                "calibrate the exits again, with codecs"
            )


def family_of(models: ModelsLike, table: ExitTable) -> ExitFamily:
    """Read the exits that a table names out of models.

    Raises
    ------
    InputError, graph_io.ModelError
        See `ExitFamily.parse`; one model, and a table of several.
    """
    if isinstance(models, ExitFamily):
        return models
    if isinstance(models, Mapping):
        return ExitFamily.parse(models, {one.name: one.output for one in table.exits if one.name in models})
    if any(one.name != one.output for one in table.exits):
        names = ", ".join(one.name for one in table.exits)
        raise InputError(f"the exits file is of a model for each exit: {names}; give these models, in this order")
    return ExitFamily.parse(models, [one.output for one in table.exits])


def _threads(machines: Mapping[str, SegmentMachine], role: str) -> int:
    return machines[role].threads if role in machines else 1


def _usable(way: Way, table: ExitTable, output_on: str) -> bool:
    """Say whether exits may be decided on the device: where their confidences are known, and answers are wanted."""
    return not way.device_exits or (table.measured and output_on != "server")


def _check_shapes(family: ExitFamily, table: ExitTable, dims: Mapping[str, int]) -> None:
    from partition.exits.data import planned_inputs

    if table.shapes:
        table.check_shapes(planned_inputs(family, dims)[0])


def _check_inputs(family: ExitFamily, input_bytes: Mapping[str, Any]) -> None:
    from graph_io import input_dtypes

    known = {name: None for one in family.exits for name in input_dtypes(one.model)}
    unknown = next((name for name in input_bytes if name not in known), None)
    if unknown is not None:
        raise InputError(f"input_bytes: '{unknown}' is no input of the models; they read {', '.join(known)}")


def _rules(table: ExitTable, way: Way) -> ThresholdRules:
    final = table.exit(way.final)
    if not table.measured:
        accuracy: Reals = np.array([final.accuracy])
        return ThresholdRules(np.zeros((1, 0)), np.ones((1, 1)), accuracy, accuracy, True)
    used = [*map(table.exit, way.device_exits), final]
    confidences = [one.confidences for one in used[:-1]]
    scores = np.array([one.scores for one in used])
    return threshold_rules(np.array(confidences) if confidences else np.zeros((0, scores.shape[1])), scores)
