"""A plan as a folder: the parts as ONNX files and ``plan.json``, whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from partition.errors import InputError
from partition.files import FieldReader, read_json, write_json
from partition.links import Link
from partition.plan import Estimate, MachineInfo, ModelInfo, Plan, PlanMessage, PlanPart, PlanStage, TensorInfo

PLAN_FORMAT = "dnn-partition/plan"
PLAN_VERSION = 1
PLAN_FILE = "plan.json"
_READ_BYTES = 1 << 20
_T = TypeVar("_T", bound=str)


def save_plan(plan: Plan, folder: Path, *, overwrite: bool) -> Plan:
    """Write a plan; see `Plan.save`."""
    try:
        if os.path.lexists(folder):
            if not overwrite:
                raise InputError(f"output folder '{folder}' exists; choose another, or pass --force (overwrite=True)")
            _check_replaceable(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error
    try:
        saved = _write(plan, draft)
        _move_into_place(draft, folder)
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error
    finally:
        # Also on Ctrl-C: what was moved into place is no longer here.
        shutil.rmtree(draft, ignore_errors=True)
    return replace(saved, source=folder)


def _check_replaceable(folder: Path) -> None:
    """Refuse to delete anything but an earlier plan."""
    if not folder.is_dir() or folder.is_symlink():
        raise InputError(f"output folder '{folder}' is not a folder, so it is not replaced; choose another")
    entries = list(folder.iterdir())
    is_plan = any(entry.name == PLAN_FILE for entry in entries)
    foreign = sorted(
        entry.name
        for entry in entries
        # Without plan.json even a file that is named like a part is somebody's own.
        if not is_plan
        or not entry.is_file()
        or (entry.name != PLAN_FILE and not (entry.name.startswith("part-") and entry.suffix == ".onnx"))
    )
    if foreign:
        raise InputError(
            f"output folder '{folder}' holds '{foreign[0]}', which no plan wrote, so it is not replaced; choose another"
        )


def _write(plan: Plan, draft: Path) -> Plan:
    from partition.runtime.session import part_bytes, part_options

    contents = part_bytes(plan)
    parts = []
    for part, content in zip(plan.parts, contents, strict=True):
        path = draft / part.file
        path.write_bytes(content)
        _open_once(path, part.file, part_options(len(content), threads=1))
        parts.append(replace(part, file_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()))
    saved = replace(plan, parts=tuple(parts), source=draft)
    write_json(draft / PLAN_FILE, plan_to_json(saved))
    # mkdtemp makes a private folder; what the user asked for has the user's usual permissions.
    mask = os.umask(0)
    os.umask(mask)
    draft.chmod(0o777 & ~mask)
    return saved


def _open_once(path: Path, name: str, options: Any) -> None:
    """Let the runtime accept a part before anybody is told that it exists."""
    import onnxruntime

    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no public base class
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name} cannot be opened by onnxruntime, so nothing was written: {reason}") from error


def _move_into_place(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
        return
    former = Path(tempfile.mkdtemp(prefix=f".{folder.name}-former-", dir=folder.parent))
    try:
        folder.rename(former / "plan")
        draft.rename(folder)
    except BaseException:
        # Also on Ctrl-C: the earlier plan comes back before its temporary place is removed.
        if not folder.exists():
            (former / "plan").rename(folder)
        raise
    finally:
        shutil.rmtree(former, ignore_errors=True)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return the content of ``plan.json``; see docs/plan-file.md."""
    return {
        "format": PLAN_FORMAT,
        "version": PLAN_VERSION,
        "model": asdict(plan.model),
        "objective": plan.objective,
        "output_on": plan.output_on,
        "link": plan.link.to_json(),
        "device": asdict(plan.device),
        "server": asdict(plan.server),
        "parts": [asdict(part) for part in plan.parts],
        "stages": [asdict(stage) for stage in plan.stages],
        "messages": [asdict(message) for message in plan.messages],
        "estimates": [{**asdict(one), "latency_s": one.latency_s} for one in plan.estimates],
        "method": plan.method,
        "value": plan.value,
        "bound": plan.bound,
        "optimal": plan.optimal,
        "assumptions": list(plan.assumptions),
        "encoded_inputs": plan.encoded_inputs,
    }


def load_plan(folder: str | PathLike[str]) -> Plan:
    """Read a saved plan.

    Parameters
    ----------
    folder : path
        As `Plan.save` wrote it.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        ``plan.json`` is missing, of another version or damaged; a part is missing or is not the one that was saved.
    """
    folder = Path(folder)
    path = folder / PLAN_FILE
    fields = FieldReader(read_json(path, "plan file"), f"plan file '{path}'")
    fields.header(PLAN_FORMAT, PLAN_VERSION)
    plan = Plan(
        model=_read_model(fields.object("model")),
        objective=_choice(fields, "objective", ("latency", "energy")),
        output_on=_choice(fields, "output_on", ("device", "server", "any")),
        link=Link.from_json(fields.take("link"), f"plan file '{path}': link"),
        device=_read_machine(fields.object("device")),
        server=_read_machine(fields.object("server")),
        parts=tuple(_read_part(one) for one in fields.objects("parts")),
        stages=tuple(_read_stage(one) for one in fields.objects("stages")),
        messages=tuple(_read_message(one) for one in fields.objects("messages")),
        estimates=tuple(_read_estimate(one) for one in fields.objects("estimates")),
        method=fields.text("method"),
        value=fields.real("value"),
        bound=fields.real("bound"),
        optimal=fields.boolean("optimal"),
        assumptions=fields.texts("assumptions"),
        encoded_inputs=_integers(fields, "encoded_inputs"),
        source=folder,
    )
    fields.finish()
    _check_numbers(plan, fields)
    for part in plan.parts:
        _check_file(folder, part)
    return plan


def _check_numbers(plan: Plan, fields: FieldReader) -> None:
    used = [number for stage in plan.stages for number in stage.parts]
    if used != list(range(len(plan.parts))):
        fields.refuse("stages", used, f"stages that run the parts 0 to {len(plan.parts) - 1} once each, in order")
    if len(plan.messages) != len(plan.stages) - 1:
        fields.refuse("messages", len(plan.messages), f"{len(plan.stages) - 1} messages, one between each two stages")
    if not plan.estimates:
        fields.refuse("estimates", [], "at least the estimate of the plan itself")


def _check_file(folder: Path, part: PlanPart) -> None:
    path = folder / part.file
    if Path(part.file).name != part.file:
        raise InputError(
            f"plan file '{folder / PLAN_FILE}': part '{part.file}' is a path; parts lie in the plan's folder"
        )
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise InputError(f"part '{path}' cannot be read: {error.strerror or error}; save the plan again") from error
    if digest.hexdigest() != part.sha256:
        raise InputError(
            f"part '{path}' is not the file that was saved with this plan (its hash differs); save it again"
        )


def _read_model(fields: FieldReader) -> ModelInfo:
    model = ModelInfo(
        name=fields.text("name"),
        path=fields.optional_text("path"),
        structure_sha256=fields.text("structure_sha256"),
        granularity=fields.text("granularity"),
        dims=_integers(fields, "dims"),
        n_layers=fields.count("n_layers"),
        inputs=fields.texts("inputs"),
        outputs=fields.texts("outputs"),
    )
    fields.finish()
    return model


def _read_machine(fields: FieldReader) -> MachineInfo:
    machine = MachineInfo(fields.text("name"), fields.text("kind"), fields.text("description"))
    fields.finish()
    return machine


def _read_part(fields: FieldReader) -> PlanPart:
    part = PlanPart(
        file=fields.text("file"),
        layers=fields.texts("layers"),
        inputs=tuple(_read_tensor(one) for one in fields.objects("inputs")),
        outputs=tuple(_read_tensor(one) for one in fields.objects("outputs")),
        weight_bytes=fields.whole("weight_bytes"),
        memory_bytes=fields.whole("memory_bytes"),
        file_bytes=fields.whole("file_bytes"),
        sha256=fields.text("sha256"),
    )
    fields.finish()
    return part


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


def _read_message(fields: FieldReader) -> PlanMessage:
    message = PlanMessage(
        after_stage=fields.whole("after_stage"),
        direction=_choice(fields, "direction", ("uplink", "downlink")),
        tensors=fields.texts("tensors"),
        size_bytes=fields.whole("size_bytes"),
        transfer_s=fields.non_negative("transfer_s"),
        delay_s=fields.non_negative("delay_s"),
    )
    fields.finish()
    return message


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
        objective_value=fields.real("objective_value"),
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
