"""``plan.json``: a plan as plain JSON values, and back with every field checked. Described in docs/files.md."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from graph_io.codecs import CODECS, LOSSLESS
from partition.adaptation.conditions import ConditionRange
from partition.errors import InputError
from partition.files import FieldReader
from partition.links import Link
from partition.plan import Plan
from partition.plan_records import (
    Estimate,
    MachineInfo,
    ModelInfo,
    PlanChoice,
    PlanLoss,
    PlanMessage,
    PlanPart,
    PlanStage,
    TensorInfo,
    WeightsFile,
)

PLAN_FORMAT = "dnn-partition/plan"
PLAN_VERSION = 1
_T = TypeVar("_T", bound=str)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return the content of ``plan.json``; see docs/files.md."""
    return {
        "format": PLAN_FORMAT,
        "version": PLAN_VERSION,
        "model": asdict(plan.model),
        "objective": plan.objective,
        "output_on": plan.output_on,
        "keep_inputs": plan.keep_inputs,
        "link": plan.link.to_json(),
        "device": asdict(plan.device),
        "server": asdict(plan.server),
        "parts": [asdict(part) for part in plan.parts],
        "stages": [asdict(stage) for stage in plan.stages],
        "messages": [_message_to_json(message) for message in plan.messages],
        "estimates": [{**asdict(one), "latency_s": one.latency_s} for one in plan.estimates],
        "chosen_by": plan.chosen_by,
        "method": plan.method,
        "max_server_visits": plan.max_server_visits,
        "value": plan.value,
        "bound": plan.bound,
        "optimal": plan.optimal,
        "library_version": plan.library_version,
        "runtime_version": plan.runtime_version,
        "assumptions": list(plan.assumptions),
        "encoded_inputs": plan.encoded_inputs,
        "choices": [
            {**asdict(choice), "messages": [_message_to_json(message) for message in choice.messages]}
            for choice in plan.choices
        ],
        "adapts_to": None if plan.adapts_to is None else plan.adapts_to.to_json(),
        **({} if plan.loss is None else {"loss": asdict(plan.loss)}),
    }


def _message_to_json(message: PlanMessage) -> dict[str, Any]:
    # Without codecs the fields of codecs are left out.
    fields = asdict(message)
    if not message.codecs:
        del fields["codecs"], fields["raw_bytes"]
    return fields


def plan_from_json(content: dict[str, Any], source: str, folder: Path) -> Plan:
    """Make a plan from the content of ``plan.json``.

    Parameters
    ----------
    content : dict
    source : str
        What is being read and from where, for the messages.
    folder : pathlib.Path
        Where the parts lie; they are not looked at here.

    Raises
    ------
    InputError
        Another format or version; a field that is missing, unknown, of the wrong type or out of range.
    """
    fields = FieldReader(content, source)
    fields.header(PLAN_FORMAT, PLAN_VERSION)
    plan = Plan(
        model=read_model(fields.object("model")),
        objective=_choice(fields, "objective", ("latency", "energy")),
        output_on=_choice(fields, "output_on", ("device", "server", "any")),
        keep_inputs=fields.boolean("keep_inputs"),
        link=Link.from_json(fields.take("link"), f"{source}: link"),
        device=_read_machine(fields.object("device")),
        server=_read_machine(fields.object("server")),
        parts=tuple(read_part(one) for one in fields.objects("parts")),
        stages=tuple(_read_stage(one) for one in fields.objects("stages")),
        messages=tuple(_read_message(one) for one in fields.objects("messages")),
        estimates=tuple(_read_estimate(one) for one in fields.objects("estimates")),
        chosen_by=_choice(fields, "chosen_by", ("solver", "user")),
        method=fields.text("method"),
        max_server_visits=fields.optional_count("max_server_visits"),
        value=fields.real("value"),
        bound=fields.real("bound"),
        optimal=fields.boolean("optimal"),
        library_version=fields.text("library_version"),
        runtime_version=fields.text("runtime_version"),
        assumptions=fields.texts("assumptions"),
        encoded_inputs=_integers(fields, "encoded_inputs"),
        source=folder,
        choices=tuple(_read_choice(one) for one in fields.objects("choices")),
        adapts_to=None if (over := fields.optional_object("adapts_to")) is None else ConditionRange.from_json(over),
    )
    if "loss" in fields.names():
        plan = replace(plan, loss=_read_loss(fields.object("loss")))
    fields.finish()
    _check_numbers(plan, fields)
    return plan


def check_parts(model: ModelInfo, parts: Sequence[PlanPart], fields: FieldReader) -> None:
    """Refuse parts of one file, parts that read what no one makes, and outputs of the model that no part puts out."""
    files: dict[str, int] = {}
    made = set(model.input_names)
    for number, part in enumerate(parts):
        first = files.setdefault(part.file, number)
        if first != number:
            fields.refuse(f"parts[{number}].file", part.file, f"another file than that of parts[{first}]")
        missing = next((one.name for one in part.inputs if one.name not in made), None)
        if missing is not None:
            fields.refuse(f"parts[{number}].inputs", missing, "inputs of the model or what earlier parts put out")
        made.update(one.name for one in part.outputs)
    missing = next((name for name in model.output_names if name not in made), None)
    if missing is not None:
        raise InputError(
            f"{fields.source}: the field 'model.outputs' is wrong: output {missing!r} of the model comes out of no "
            "part; correct it there"
        )


def _check_numbers(plan: Plan, fields: FieldReader) -> None:
    check_parts(plan.model, plan.parts, fields)
    unknown = next((name for name in plan.encoded_inputs if name not in plan.model.input_names), None)
    if unknown is not None:
        fields.refuse("encoded_inputs", unknown, "inputs of the model")
    _check_route(plan, plan.stages, plan.messages, fields)
    for number, choice in enumerate(plan.choices):
        _check_route(plan, choice.stages, choice.messages, fields, f"choices[{number}].")
    if plan.choices and plan.stages not in [choice.stages for choice in plan.choices]:
        fields.refuse("choices", f"a list of {len(plan.choices)} without them", "also the plan's own stages, unchanged")
    if bool(plan.choices) != (plan.adapts_to is not None):
        fields.refuse("adapts_to", plan.adapts_to, "an object where there are choices, null where there are none")
    names = [estimate.name for estimate in plan.estimates]
    simple = ["all on the device"] if plan.keep_inputs else ["all on the device", "all on the server"]
    if names[:1] != ["this plan"] or not set(simple).issubset(names):
        fields.refuse("estimates", names, "'this plan' first, and " + " and ".join(repr(one) for one in simple))
    if plan.bound > plan.value:
        fields.refuse("bound", plan.bound, f"at most the value, {plan.value}")


def _check_route(
    plan: Plan, stages: tuple[PlanStage, ...], messages: tuple[PlanMessage, ...], fields: FieldReader, where: str = ""
) -> None:
    """Refuse stages that do not run every part once, after what it reads, or do not take turns."""
    used = [number for stage in stages for number in stage.parts]
    if sorted(used) != list(range(len(plan.parts))):
        fields.refuse(
            f"{where}stages", used, f"the parts 0 to {len(plan.parts) - 1} once each, in order of what they read"
        )
    made = set(plan.model.input_names)
    for number in used:
        missing = next((one.name for one in plan.parts[number].inputs if one.name not in made), None)
        if missing is not None:
            fields.refuse(f"{where}stages", used, f"an order in which '{missing}' is there before part {number} runs")
        made.update(one.name for one in plan.parts[number].outputs)
    machines = [stage.machine for stage in stages]
    if machines != [("device", "server")[number % 2] for number in range(len(machines))] or not machines:
        fields.refuse(f"{where}stages", machines, "stages that alternate between device and server, the device first")
    passed = [(message.after_stage, message.direction) for message in messages]
    if passed != [(number, ("uplink", "downlink")[number % 2]) for number in range(len(machines) - 1)]:
        fields.refuse(f"{where}messages", passed, "one message between each two stages, uplink first")
    here: dict[str, set[str]] = {"device": set(plan.model.input_names), "server": set()}
    for number, stage in enumerate(stages):
        for part in (plan.parts[one] for one in stage.parts):
            missing = next((one.name for one in part.inputs if one.name not in here[stage.machine]), None)
            if missing is not None:
                legal = f"also '{missing}', which {part.file} reads on the {stage.machine}"
                fields.refuse(f"{where}messages[{number - 1}].tensors", messages[number - 1].tensors, legal)
            here[stage.machine].update(one.name for one in part.outputs)
        for message in messages[number : number + 1]:
            if not here[stage.machine].issuperset(message.carried):
                legal = f"tensors that the {stage.machine} has by then"
                fields.refuse(f"{where}messages[{number}].tensors", message.carried, legal)
            here["server" if stage.machine == "device" else "device"].update(message.carried)


def read_model(fields: FieldReader) -> ModelInfo:
    """Read what is stored of a model."""
    model = ModelInfo(
        name=fields.text("name"),
        path=fields.optional_path("path"),
        structure_sha256=fields.text("structure_sha256"),
        granularity=fields.text("granularity"),
        dims=_integers(fields, "dims"),
        n_layers=fields.count("n_layers"),
        inputs=tuple(_read_tensor(one) for one in fields.objects("inputs")),
        outputs=tuple(_read_tensor(one) for one in fields.objects("outputs")),
    )
    fields.finish()
    return model


def _read_machine(fields: FieldReader) -> MachineInfo:
    machine = MachineInfo(
        fields.text("name"), fields.text("kind"), fields.text("description"), fields.optional_count("threads")
    )
    fields.finish()
    return machine


def _file(fields: FieldReader) -> str:
    file = fields.text("file")
    if "\0" in file:
        fields.refuse("file", file, "the path of a file")
    return file


def read_part(fields: FieldReader) -> PlanPart:
    """Read what is stored of a part."""
    part = PlanPart(
        file=_file(fields),
        layers=fields.texts("layers"),
        inputs=tuple(_read_tensor(one) for one in fields.objects("inputs")),
        outputs=tuple(_read_tensor(one) for one in fields.objects("outputs")),
        weight_bytes=fields.whole("weight_bytes"),
        memory_bytes=fields.whole("memory_bytes"),
        file_bytes=fields.whole("file_bytes"),
        sha256=fields.text("sha256"),
        weights_files=tuple(_read_weights_file(one) for one in fields.objects("weights_files")),
    )
    fields.finish()
    return part


def _read_weights_file(fields: FieldReader) -> WeightsFile:
    file = WeightsFile(_file(fields), fields.whole("size_bytes"), fields.boolean("own"), fields.optional_text("sha256"))
    fields.finish()
    return file


def _read_tensor(fields: FieldReader) -> TensorInfo:
    tensor = TensorInfo(fields.text("name"), fields.text("dtype"), fields.wholes("shape"), fields.whole("size_bytes"))
    fields.finish()
    return tensor


def _read_stage(fields: FieldReader) -> PlanStage:
    stage = PlanStage(
        machine=_choice(fields, "machine", ("device", "server")),
        parts=fields.wholes("parts"),
        n_layers=fields.whole("n_layers"),
        compute_s=fields.non_negative("compute_s"),
    )
    fields.finish()
    return stage


def _read_choice(fields: FieldReader) -> PlanChoice:
    choice = PlanChoice(
        stages=tuple(_read_stage(one) for one in fields.objects("stages")),
        messages=tuple(_read_message(one) for one in fields.objects("messages")),
    )
    fields.finish()
    return choice


def _read_message(fields: FieldReader) -> PlanMessage:
    coded = "codecs" in fields.names()
    message = PlanMessage(
        after_stage=fields.whole("after_stage"),
        direction=_choice(fields, "direction", ("uplink", "downlink")),
        tensors=fields.texts("tensors"),
        size_bytes=fields.whole("size_bytes"),
        transfer_s=fields.non_negative("transfer_s"),
        delay_s=fields.non_negative("delay_s"),
        codecs=fields.texts("codecs") if coded else (),
        raw_bytes=fields.whole("raw_bytes") if coded else None,
    )
    fields.finish()
    if coded and (len(message.codecs) != len(message.tensors) or not {LOSSLESS, *CODECS}.issuperset(message.codecs)):
        fields.refuse("codecs", message.codecs, f"one of {', '.join((LOSSLESS, *CODECS))} for each of the tensors")
    return message


def _read_loss(fields: FieldReader) -> PlanLoss:
    loss = PlanLoss(
        metric=fields.text("metric"),
        max_loss=fields.non_negative("max_loss"),
        loss=fields.real("loss"),
        output_error=fields.non_negative("output_error"),
        measured=fields.boolean("measured"),
        n_inputs=fields.whole("n_inputs"),
        data=fields.text("data"),
    )
    fields.finish()
    return loss


def _read_estimate(fields: FieldReader) -> Estimate:
    estimate = Estimate(
        name=fields.text("name"),
        cut=fields.texts("cut"),
        device_s=fields.non_negative("device_s"),
        uplink_s=fields.non_negative("uplink_s"),
        server_s=fields.non_negative("server_s"),
        downlink_s=fields.non_negative("downlink_s"),
        uplink_bytes=fields.whole("uplink_bytes"),
        downlink_bytes=fields.whole("downlink_bytes"),
        device_memory_bytes=fields.whole("device_memory_bytes"),
        server_memory_bytes=fields.whole("server_memory_bytes"),
        objective_value=fields.real("objective_value"),
        deviation_s=fields.optional_non_negative("deviation_s"),
    )
    fields.non_negative("latency_s")
    fields.finish()
    return estimate


def _choice(fields: FieldReader, name: str, legal: tuple[_T, ...]) -> _T:
    value = fields.text(name)
    known = {str(one): one for one in legal}
    if value not in known:
        fields.refuse(name, value, " or ".join(repr(one) for one in legal))
    return known[value]


def _integers(fields: FieldReader, name: str) -> dict[str, int]:
    inner = fields.object(name)
    return {key: inner.whole(key) for key in inner.names()}
