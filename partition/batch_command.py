"""The command ``dnn-partition batch``: many models, links and pairs of machines, and one table."""

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partition.arguments import (
    DimOption,
    ForceOption,
    GranularityOption,
    JsonOption,
    VisitsOption,
    check_output_file,
    dims,
    visits,
)
from partition.errors import InputError
from partition.terminal import console, show_json

if TYPE_CHECKING:
    from partition.batch import ScaledMachine
    from partition.batch.table import ModelRows
    from partition.links import Link

_MOST_ROWS_SHOWN = 60
_MOST_LINKS = 1_000_000


def batch(
    models: Annotated[list[str], typer.Argument(metavar="MODELS", help="ONNX files, folders, or quoted patterns.")],
    links: Annotated[
        list[str],
        typer.Option(
            "--links",
            "-l",
            metavar="A,B,...",
            help="Presets (3g, 4g, wifi), uplink rates such as 8.8Mbps, or LOW..HIGH:N for N rates; repeatable.",
            show_default=False,
        ),
    ],
    machines: Annotated[
        list[str] | None,
        typer.Option(
            "--machines",
            "-m",
            metavar="DEVICE,SERVER",
            help="Names or files; NAME@2 is twice as fast as NAME; repeatable.",
            show_default="raspberry-pi-4,xeon-server",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="New file .csv, .jsonl or .parquet.", show_default="only show")
    ] = None,
    downlink: Annotated[
        str | None, typer.Option(help="Downlink rate of all links.", show_default="each link's")
    ] = None,
    rtt: Annotated[str | None, typer.Option(help="Round trip of all links.", show_default="each link's")] = None,
    objective: Annotated[str, typer.Option(help="'latency' or 'energy' (of the device).")] = "latency",
    output_on: Annotated[str, typer.Option(help="Where the outputs are wanted: device, server or any.")] = "device",
    max_server_visits: VisitsOption = "1",
    keep_inputs: Annotated[bool, typer.Option("--keep-inputs", help="No model input may leave the device.")] = False,
    radio: Annotated[
        str | None, typer.Option(help="For energy: 3g, 4g or wifi.", show_default="machine file's power")
    ] = None,
    dim: DimOption = None,
    granularity: GranularityOption = "layer",
    workers: Annotated[int, typer.Option(help="Processes, each with one thread.")] = 1,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Solve many models for many links and machines.

    A model that cannot be solved does not stop the others: its rows carry the error.
    """
    from partition.batch import solve_each
    from partition.batch.files import check_ending, write_rows

    if out is not None:
        check_ending(out)
        check_output_file(out, "file of rows", force=force)
    start_s = time.perf_counter()
    blocks = solve_each(
        models,
        parse_links(links, downlink=downlink, rtt=rtt),
        [parse_pair(one) for one in machines or ("raspberry-pi-4,xeon-server",)],
        objective=objective,  # type: ignore[arg-type]
        output_on=output_on,  # type: ignore[arg-type]
        dims=dims(dim),
        granularity=granularity,  # type: ignore[arg-type]
        keep_inputs=keep_inputs,
        max_server_visits=visits(max_server_visits),
        radio=radio,
        workers=workers,
        progress=True,
    )
    done: list[ModelRows] = []
    with closing(blocks):
        if out is None:
            done = list(blocks)
            summaries = [_summary(block) for block in done]
        else:
            # Rows that are written are not kept: a batch may be larger than the memory.
            summaries = [_summary(block) for block in write_rows(out, blocks)]
    seconds = time.perf_counter() - start_s
    if all(one["rows"] == one["errors"] for one in summaries):
        first = summaries[0]
        raise InputError(f"no row could be solved; {first['model']}: {first['reasons'][0]}")
    _show(done, summaries, out, seconds, as_json=as_json)


def parse_links(entries: list[str], *, downlink: str | None, rtt: str | None) -> "list[Link]":
    """Read ``--links``: names and rates between commas, and ranges with a number of rates, evenly apart by ratio."""
    from partition.links import Link

    return [
        Link.parse(one, downlink=downlink, rtt=rtt)
        for entry in entries
        for text in entry.split(",")
        for one in _rates(text.strip())
    ]


def _rates(text: str) -> "list[str | float]":
    if ".." not in text:
        return [text]
    import numpy as np

    from partition.units import parse_bandwidth

    ends, colon, count = text.rpartition(":")
    low, _, high = ends.partition("..")
    if not colon or not count.isascii() or not count.isdigit() or not 2 <= int(count[:18]) <= _MOST_LINKS:
        raise InputError(
            f"--links {text}: write a range with its number of rates, 2 to {_MOST_LINKS}, such as 1Mbps..1Gbps:100"
        )
    first, last = (parse_bandwidth(one, what=f"--links {text}") for one in (low.strip(), high.strip()))
    if not first < last:
        raise InputError(f"--links {text}: the range is empty; give the lower rate first")
    rates: list[str | float] = [float(one) for one in np.geomspace(first, last, int(count))]
    return rates


def parse_pair(text: str) -> "tuple[str | ScaledMachine, str | ScaledMachine]":
    """Read one ``--machines``: DEVICE,SERVER, each a name or a file, with @SPEED behind it or not."""
    names = [one.strip() for one in text.split(",")]
    if len(names) != 2 or not all(names):
        raise InputError(f"--machines {text}: write DEVICE,SERVER, such as raspberry-pi-4,xeon-server")
    return _machine(names[0]), _machine(names[1])


def _machine(text: str) -> "str | ScaledMachine":
    from partition.batch import ScaledMachine

    name, _, speed = text.rpartition("@")
    try:
        factor = float(speed) if name else None
    except ValueError:
        factor = None
    # An @ with something else behind it belongs to the file's name.
    return text if factor is None else ScaledMachine(name, factor)


def _summary(block: "ModelRows") -> dict[str, Any]:
    """Return what is said of one model."""
    solved = block.error_of_row < 0
    return {
        "model": block.model,
        "layers": block.n_layers,
        "rows": len(block),
        "errors": block.n_errors,
        "optimal": int(block.optimal.sum()),
        "cuts": len({block.cuts[index].tensors for index in set(block.cut_of_row[solved].tolist())}),
        "methods": list(block.methods),
        "reasons": list(block.errors),
        "notes": list(block.notes),
    }


def _show(
    done: "list[ModelRows]", summaries: list[dict[str, Any]], out: Path | None, seconds: float, *, as_json: bool
) -> None:
    n_rows, n_errors = (sum(one[name] for one in summaries) for name in ("rows", "errors"))
    if as_json:
        content: dict[str, Any] = {
            "file": None if out is None else str(out),
            "rows": n_rows,
            "errors": n_errors,
            "seconds": seconds,
            "models": summaries,
        }
        if out is None:
            content["table"] = [_plain(row) for block in done for row in block]
        show_json(content)
        return
    shown = console()
    if out is None and n_rows <= _MOST_ROWS_SHOWN:
        shown.print(_row_table(done))
    else:
        shown.print(_model_table(summaries))
    for one in summaries:
        for reason in one["reasons"]:
            shown.print(f"{one['model']}: {reason}", soft_wrap=True)
    place = "nothing written (-o FILE writes the rows)" if out is None else f"written to {out}"
    shown.print(f"{n_rows} rows, {n_errors} with errors, in {seconds:.2f} s; {place}", soft_wrap=True)


def _plain(row: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(row) | {"cut": None if row.cut is None else list(row.cut)}


def _row_table(done: "list[ModelRows]") -> Any:
    from rich.box import SIMPLE
    from rich.table import Table

    from partition.units import format_bandwidth, format_duration

    several, joules = len(done[0].pairs) > 1, done[0].objective == "energy"
    table = Table("model", "link", *(("device", "server") if several else ()), "cut", box=SIMPLE)
    for heading in (*(("energy",) if joules else ()), "latency", "sent"):
        table.add_column(heading, justify="right", no_wrap=True)
    for block in done:
        for row in block:
            link = row.link if row.link != "custom" else format_bandwidth(row.uplink_bits_per_s)
            names = (Path(row.model).name, link, *((row.device, row.server) if several else ()))
            if row.value is None or row.latency_s is None or row.uplink_bytes is None or row.cut is None:
                table.add_row(*names, "error, see below")
                continue
            where = ", ".join(row.cut) or (
                "all on the device" if row.n_layers_on_device == row.n_layers else "no input"
            )
            proof = "" if row.optimal else " (not proven)"
            figures = (format_duration(row.latency_s), f"{row.uplink_bytes:,} B")
            table.add_row(*names, where + proof, *((f"{row.value:.4g} J",) if joules else ()), *figures)
    return table


def _model_table(summaries: list[dict[str, Any]]) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table("model", box=SIMPLE)
    for heading in ("layers", "rows", "errors", "proven", "different cuts", "method"):
        table.add_column(heading, justify="right")
    for one in summaries:
        layers = "-" if one["layers"] is None else str(one["layers"])
        counts = (str(one[name]) for name in ("rows", "errors", "optimal", "cuts"))
        table.add_row(Path(one["model"]).name, layers, *counts, ", ".join(one["methods"]))
    return table
