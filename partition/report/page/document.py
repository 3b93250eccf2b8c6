"""The report of a plan: a page with its sentence, its figures and what it takes for granted."""

from pathlib import Path

from partition.plan import Plan
from partition.report.page.evidence import Study
from partition.report.page.figures import KINDS, figure_of
from partition.report.page.files import check_new, write_file
from partition.report.page.frame import page
from partition.report.page.measured import Measured
from partition.report.page.svg import shortened
from partition.report.table import format_bytes
from partition.units import format_bandwidth, format_duration


def write_report(plan: Plan, path: Path, *, measured: "Measured | None" = None, overwrite: bool = False) -> Path:
    """Write the report of a plan; parameters and errors as of `Plan.report`."""
    check_new(path, "report", overwrite=overwrite)
    write_file(path, report_html(plan, measured).encode(), "report")
    return path


def report_html(plan: Plan, measured: "Measured | None" = None) -> str:
    """Return the report as one HTML document."""
    study = Study(plan)
    figures = [figure_of(study, kind, measured) for kind in KINDS]
    return page(plan.model.name, sentence(plan), facts(plan), figures, plan.assumptions, footer(plan))


def sentence(plan: Plan) -> str:
    """Say the plan in one sentence."""
    n_layers = plan.model.n_layers
    on_device = sum(stage.n_layers for stage in plan.stages if stage.machine == "device")
    model, link = shortened(plan.model.name, 80), format_bandwidth(plan.link.uplink_bits_per_s)
    device, server = plan.device.name, plan.server.name
    if on_device == n_layers:
        what = f"Run all {n_layers:,} layers of {model} on {device}"
    else:
        sent = sum(one.size_bytes for one in plan.messages if one.direction == "uplink")
        names = ", ".join(shortened(name, 60) for name in plan.cut[:3]) or "only the request"
        names += f" and {len(plan.cut) - 3} more" if len(plan.cut) > 3 else ""
        n_visits = sum(one.direction == "uplink" for one in plan.messages)
        visits = "" if n_visits == 1 else f" in {n_visits} visits"
        over = f"send {names} ({format_bytes(sent)}) over {link}{visits}"
        if on_device == 0:
            what = f"{over[0].upper()}{over[1:]} and run all {n_layers:,} layers of {model} on {server}"
        else:
            what = (
                f"Run {on_device:,} of {n_layers:,} layers of {model} on {device}, {over}, and run the rest on {server}"
            )
    costs = f"that is predicted to take {format_duration(plan.latency_s)}"
    if plan.objective == "energy":
        costs += f" and {plan.value:.4g} J of the device's energy"
    return f"{what}: {costs}{_compared(plan)}. {_proof(plan)}"


def _compared(plan: Plan) -> str:
    simple = {one.name: one.latency_s for one in plan.estimates if one.name.startswith("all on")}
    others = [f"{format_duration(seconds)} {name}" for name, seconds in simple.items() if seconds != plan.latency_s]
    return f", against {' and '.join(others)}" if others else ""


def _proof(plan: Plan) -> str:
    least = f"the least {plan.objective}"
    if plan.objective == "energy":
        least = "the least energy of the device"
    if plan.keep_inputs:
        least += " with the model's inputs kept on the device"
    if plan.chosen_by == "user":
        optimum = next((one for one in plan.estimates if one.name == "the optimum"), None)
        if plan.optimal:
            return f"The cut is your own; it has {least}, proven."
        if optimum is None:
            return "The cut is your own."
        if plan.objective == "energy":
            return f"The cut is your own; the best one takes {optimum.objective_value:.4g} J."
        return f"The cut is your own; the best one takes {format_duration(optimum.latency_s)}."
    if plan.optimal:
        return f"No placement has less: {least} is proven (method {plan.method})."
    return f"That this is {least} is not proven: it may be {plan.relative_gap:.2%} above it (method {plan.method})."


def facts(plan: Plan) -> list[tuple[str, str]]:
    """Return what stands in boxes below the sentence: names and values."""
    own = plan.estimates[0]
    deviation = f" ± {format_duration(own.deviation_s)}" if own.deviation_s else ""
    link = plan.link
    down, rtt = format_bandwidth(link.downlink_bits_per_s), format_duration(link.rtt_s)
    found = [
        ("Latency, predicted", f"{format_duration(plan.latency_s)}{deviation}"),
        ("Link", f"{format_bandwidth(link.uplink_bits_per_s)} up, {down} down, round trip {rtt}"),
        ("Device", f"{plan.device.name} ({plan.device.kind}), {_memory(own.device_memory_bytes)}"),
        ("Server", f"{plan.server.name} ({plan.server.kind}), {_memory(own.server_memory_bytes)}"),
    ]
    if plan.adapts_to is not None:
        placements, parts = len(plan.choices), len(plan.parts)
        counted = f"{placements} placement{'s' * (placements != 1)} of {parts} part{'s' * (parts != 1)}"
        found.append(("Adapts to", f"{plan.adapts_to}: {counted}"))
    return found


def _memory(size_bytes: int) -> str:
    return f"about {format_bytes(size_bytes)} of memory" if size_bytes else "nothing to hold"


def footer(plan: Plan) -> str:
    """Say what made a plan, for which model and machines."""
    return (
        f"Made by dnn-partition {plan.library_version}; layers as onnxruntime {plan.runtime_version} runs them. "
        f"Model {plan.model.structure_sha256[:16]}. Device: {plan.device.description}. "
        f"Server: {plan.server.description}."
    )
