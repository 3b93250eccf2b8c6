"""``policy.json``: a policy of exits as plain JSON values, and back with every field checked. See docs/exits.md."""

from dataclasses import asdict
from math import isclose
from pathlib import Path
from typing import Any, cast

from partition.exits.confidence import CONFIDENCES
from partition.exits.policy import AccuracySource, ExitHead, ExitPolicy, TradeOff
from partition.files import FieldReader
from partition.plan import Plan
from partition.plan_file import read_part

POLICY_FORMAT, POLICY_VERSION = "dnn-partition/exit-policy", 1
_SOURCES = ("measured", "floor", "given")
_SHARE_TOLERANCE = 1e-9


def policy_to_json(policy: ExitPolicy) -> dict[str, Any]:
    """Return the content of ``policy.json``; the plan of the rest is a file of its own."""
    return {
        "format": POLICY_FORMAT,
        "version": POLICY_VERSION,
        "name": policy.name,
        "joint": policy.joint,
        "exits": list(policy.exits),
        "inputs": list(policy.input_names),
        "confidence": policy.confidence,
        "heads": [asdict(head) for head in policy.heads],
        "final": policy.final,
        "final_output": policy.final_output,
        "rest_share": policy.rest_share,
        "plan_sha256": policy.plan_sha256,
        "expected_latency_s": policy.expected_latency_s,
        "slowest_latency_s": policy.slowest_latency_s,
        "accuracy": policy.accuracy,
        "accuracy_standard_error": policy.accuracy_standard_error,
        "accuracy_source": policy.accuracy_source,
        "n_inputs": policy.n_inputs,
        "data": policy.data,
        "deadline_s": policy.deadline_s,
        "accuracy_bound": policy.accuracy_bound,
        "margin": policy.margin,
        "tradeoff": [asdict(one) for one in policy.tradeoff],
        "assumptions": list(policy.assumptions),
        "library_version": policy.library_version,
        "runtime_version": policy.runtime_version,
    }


def policy_from_json(content: dict[str, Any], source: str, folder: Path, plan: Plan) -> ExitPolicy:
    """Make a policy from the content of ``policy.json`` and the plan of its rest.

    Parameters
    ----------
    content : dict
    source : str
        What is being read and from where, for the messages.
    folder : pathlib.Path
        Where the heads lie; they are not looked at here.
    plan : Plan

    Raises
    ------
    InputError
        Another format or version; a field that is missing, unknown, of the wrong type or out of range; heads and a
        rest that do not belong together.
    """
    fields = FieldReader(content, source)
    fields.header(POLICY_FORMAT, POLICY_VERSION)
    for name in ("expected_latency_s", "slowest_latency_s"):
        fields.non_negative(name)
    inputs = fields.texts("inputs")
    policy = ExitPolicy(
        name=fields.text("name"),
        joint=fields.boolean("joint"),
        exits=fields.texts("exits"),
        confidence=_one_of(fields, "confidence", CONFIDENCES),
        heads=tuple(_read_head(one) for one in fields.objects("heads")),
        final=fields.text("final"),
        final_output=fields.text("final_output"),
        rest_share=_share(fields, "rest_share"),
        plan=plan,
        accuracy=_share(fields, "accuracy"),
        accuracy_standard_error=fields.optional_non_negative("accuracy_standard_error"),
        accuracy_source=cast(AccuracySource, _one_of(fields, "accuracy_source", _SOURCES)),
        n_inputs=fields.optional_count("n_inputs"),
        data=fields.optional_text("data"),
        deadline_s=fields.optional_positive("deadline_s"),
        accuracy_bound=fields.optional_non_negative("accuracy_bound"),
        margin=_share(fields, "margin"),
        tradeoff=tuple(_read_tradeoff(one) for one in fields.objects("tradeoff")),
        assumptions=fields.texts("assumptions"),
        library_version=fields.text("library_version"),
        runtime_version=fields.text("runtime_version"),
        source=folder,
        plan_sha256=fields.text("plan_sha256"),
    )
    fields.finish()
    _check(policy, inputs, fields)
    return policy


def _check(policy: ExitPolicy, inputs: tuple[str, ...], fields: FieldReader) -> None:
    """Refuse heads out of order, and heads and a rest that read what nobody has."""
    order = [name for name in policy.exits if name in (*policy.device_exits, policy.final)]
    if len(set(policy.exits)) < len(policy.exits) or order != [*policy.device_exits, policy.final]:
        legal = "exits of the family, each once and in its order, the final one last"
        fields.refuse("heads", [*policy.device_exits, policy.final], legal)
    if not isclose(sum(policy.shares), 1.0, abs_tol=_SHARE_TOLERANCE):
        fields.refuse("rest_share", policy.rest_share, "what the shares of the heads leave of 1")
    stops = [head.stop_latency_s for head in policy.heads]
    if stops != sorted(stops):
        fields.refuse("heads", stops, "latencies that rise from exit to exit")
    files: set[str] = set()
    for number, head in enumerate(policy.heads):
        where = f"heads[{number}]"
        if head.part.file in files:
            fields.refuse(f"{where}.part.file", head.part.file, "another file than those of the heads before")
        files.add(head.part.file)
        made = [one.name for one in head.part.outputs]
        if head.output not in made:
            fields.refuse(f"{where}.output", head.output, f"an output of its part: {', '.join(made)}")
    if inputs != policy.input_names:
        # As with the plan of another policy in the rest's folder.
        legal = f"what heads and rest read and no head puts out: {', '.join(policy.input_names)}"
        fields.refuse("inputs", inputs, legal)
    if not policy.tradeoff:
        fields.refuse("tradeoff", [], "at least one policy")
    if policy.final_output not in policy.plan.model.output_names:
        fields.refuse("final_output", policy.final_output, "an output of the rest")


def _read_head(fields: FieldReader) -> ExitHead:
    head = ExitHead(
        exit=fields.text("exit"),
        output=fields.text("output"),
        threshold=fields.real("threshold"),
        share=_share(fields, "share"),
        stop_latency_s=fields.non_negative("stop_latency_s"),
        part=read_part(fields.object("part")),
    )
    fields.finish()
    return head


def _read_tradeoff(fields: FieldReader) -> TradeOff:
    exits = fields.texts("device_exits")
    found = TradeOff(
        device_exits=exits,
        thresholds=_thresholds(fields, len(exits)),
        final=fields.text("final"),
        cut=fields.texts("cut"),
        expected_latency_s=fields.non_negative("expected_latency_s"),
        slowest_latency_s=fields.non_negative("slowest_latency_s"),
        accuracy=_share(fields, "accuracy"),
        accuracy_source=cast(AccuracySource, _one_of(fields, "accuracy_source", _SOURCES)),
    )
    fields.finish()
    return found


def _thresholds(fields: FieldReader, count: int) -> tuple[float, ...]:
    values = fields.take("thresholds")
    legal = "a number for each of the exits of the device"
    numbers = isinstance(values, list) and all(isinstance(one, int | float) for one in values)
    if not numbers or any(isinstance(one, bool) for one in values) or len(values) != count:
        fields.refuse("thresholds", values, legal)
    try:
        return tuple(map(float, values))
    except OverflowError:
        fields.refuse("thresholds", "a number that is too large", legal)


def _share(fields: FieldReader, name: str) -> float:
    value = fields.non_negative(name)
    if value > 1.0:
        fields.refuse(name, value, "a number from 0 to 1")
    return value


def _one_of(fields: FieldReader, name: str, legal: tuple[str, ...]) -> str:
    value = fields.text(name)
    if value not in legal:
        fields.refuse(name, value, " or ".join(repr(one) for one in legal))
    return value
