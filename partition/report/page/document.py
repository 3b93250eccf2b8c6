"""The report: one HTML file that holds all it shows, runs nothing, and reads well on a phone, in the dark and aloud."""

import base64
import hashlib
from functools import cache
from pathlib import Path

from partition.plan import Plan
from partition.report.page.evidence import Study
from partition.report.page.figure import FONT, NARROW, WIDE, Figure, Missing, Table, colour, colours
from partition.report.page.figures import KINDS, figure_of
from partition.report.page.files import check_new, write_file
from partition.report.page.measured import Measured
from partition.report.page.svg import safe, shortened
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
    style = _style()
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    name = safe(shortened(plan.model.name, 120))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>Plan of {name}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        "<header>",
        f"<h1>{name}</h1>",
        f'<p class="sentence">{safe(sentence(plan))}</p>',
        _facts(plan),
        f'<nav aria-label="Figures"><ul>{"".join(_link(one) for one in figures)}</ul></nav>',
        "</header>",
        "<main>",
        *(_section(one) for one in figures),
        _assumptions(plan),
        "</main>",
        f"<footer><p>{safe(_footer(plan))}</p></footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


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


def _facts(plan: Plan) -> str:
    own = plan.estimates[0]
    deviation = f" ± {format_duration(own.deviation_s)}" if own.deviation_s else ""
    link = plan.link
    down, rtt = format_bandwidth(link.downlink_bits_per_s), format_duration(link.rtt_s)
    facts = [
        ("Latency, predicted", f"{format_duration(plan.latency_s)}{deviation}"),
        ("Link", f"{format_bandwidth(link.uplink_bits_per_s)} up, {down} down, round trip {rtt}"),
        ("Device", f"{plan.device.name} ({plan.device.kind}), {_memory(own.device_memory_bytes)}"),
        ("Server", f"{plan.server.name} ({plan.server.kind}), {_memory(own.server_memory_bytes)}"),
    ]
    if plan.adapts_to is not None:
        facts.append(("Adapts to", f"{plan.adapts_to}: {len(plan.choices)} placements of {len(plan.parts)} parts"))
    return f"<dl>{''.join(f'<div><dt>{safe(name)}</dt><dd>{safe(value)}</dd></div>' for name, value in facts)}</dl>"


def _memory(size_bytes: int) -> str:
    return f"about {format_bytes(size_bytes)} of memory" if size_bytes else "nothing to hold"


def _link(figure: Figure | Missing) -> str:
    return f'<li><a href="#{figure.kind}">{safe(figure.title)}</a></li>'


def _section(figure: Figure | Missing) -> str:
    head = f'<section id="{figure.kind}" aria-labelledby="{figure.kind}-head"><h2 id="{figure.kind}-head">'
    head += f"{safe(figure.title)}</h2>"
    if isinstance(figure, Missing):
        return f'{head}<p class="missing">Not shown: {safe(figure.reason)}.</p></section>'
    pictures = "".join(
        figure.svg(width, identity=f"{figure.kind}-{name}", more=f' class="{name}"')
        for width, name in ((WIDE, "wide"), (NARROW, "narrow"))
    )
    notes = "".join(f"<p>{safe(one)}</p>" for one in figure.notes)
    tables = "".join(map(_table, figure.tables))
    label = f"Picture: {safe(figure.title)}"
    # Reached by keyboard, so that a tall picture can be scrolled without a mouse.
    box = f'<div class="picture" tabindex="0" role="region" aria-label="{label}">{pictures}</div>'
    details = f"<details><summary>The numbers</summary>{tables}</details>" if tables else ""
    caption = f"<figcaption><p>{safe(figure.description)}</p>{notes}</figcaption>"
    return f"{head}<figure>{caption}{box}</figure>{details}</section>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{safe(one)}</th>' for one in table.headings)
    rows = "".join(
        f'<tr><th scope="row">{safe(row[0])}</th>{"".join(f"<td>{safe(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _assumptions(plan: Plan) -> str:
    if not plan.assumptions:
        return ""
    items = "".join(f"<li>{safe(one)}</li>" for one in plan.assumptions)
    return f'<section id="assumed"><h2>Taken for granted</h2><ul class="assumed">{items}</ul></section>'


def _footer(plan: Plan) -> str:
    return (
        f"Made by dnn-partition {plan.library_version}; layers as onnxruntime {plan.runtime_version} runs them. "
        f"Model {plan.model.structure_sha256[:16]}. Device: {plan.device.description}. "
        f"Server: {plan.server.description}."
    )


@cache
def _style() -> str:
    """Return the style of the page, the same for every plan."""

    def variables(dark: bool) -> str:
        names = ("paper", "ink", "muted", "rule", "soft", "device", "mark")
        return ":root{" + ";".join(f"--{name}:{colour(name, dark=dark)}" for name in names) + "}"

    return "\n".join(
        [
            variables(False),
            colours("svg", dark=False),
            f"@media (prefers-color-scheme: dark) {{\n{variables(True)}\n{colours('svg', dark=True)}\n}}",
            f"body{{margin:0 auto;max-width:{WIDE}px;padding:12px 16px 40px;background:var(--paper);color:var(--ink);"
            f"font:16px/1.5 {FONT};overflow-wrap:anywhere}}",
            f"svg{{font-family:{FONT};display:block}}",
            "h1{font-size:1.6rem;line-height:1.2;margin:.6em 0 .3em}",
            "h2{font-size:1.2rem;margin:2em 0 .3em;padding-top:.6em;border-top:1px solid var(--rule)}",
            ".sentence{font-size:1.1rem;margin:.4em 0 1em}",
            "dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:8px;margin:0}",
            "dl div{background:var(--soft);border-radius:6px;padding:8px 12px}",
            "dt{color:var(--muted);font-size:.8rem}",
            "dd{margin:0}",
            "nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;padding:0;margin:1em 0 0}",
            "a{color:var(--device)}",
            ":focus-visible{outline:3px solid var(--mark);outline-offset:2px}",
            "figure{margin:0}",
            "figcaption p{margin:.3em 0}",
            "figcaption p+p,.missing,footer{color:var(--muted);font-size:.875rem}",
            ".picture{margin:.8em 0;overflow:auto;max-height:90vh}",
            ".narrow{display:none}",
            f"@media (max-width:{WIDE + 31}px){{.wide{{display:none}}.narrow{{display:block;margin:0 auto}}}}",
            "summary{cursor:pointer;padding:6px 0;color:var(--device)}",
            ".scroll{overflow-x:auto}",
            "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}",
            "th,td{padding:4px 10px 4px 0;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;"
            "white-space:nowrap}",
            "th:first-child{text-align:left;white-space:normal;min-width:9em;font-weight:400}",
            "thead th,thead th:first-child{font-weight:600;color:var(--muted)}",
            ".assumed{font-size:.875rem;padding-left:1.2em}",
            "@media print{.picture{max-height:none}details{display:block}}",
        ]
    )
