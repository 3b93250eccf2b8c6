"""What ``dnn-partition profile MODEL --dim seq=1..512`` does: measure a model over the lengths of its input."""

from pathlib import Path
from typing import TYPE_CHECKING

from partition.terminal import console, show_json, steps, warn

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from partition.routing.lengths_file import LengthTimings

_SLOWEST_SHOWN = 10


def profile_lengths(
    model: Path,
    lengths: tuple[str, tuple[int, int], list[str]],
    out: Path | None,
    *,
    granularity: str,
    threads: int | None,
    provider: str,
    name: str | None,
    pause_s: float,
    as_json: bool,
) -> None:
    """Measure, write the lengths file and show it.

    Parameters
    ----------
    model : pathlib.Path
    lengths : tuple
        Dimension, its least and greatest length, and what the option ``--dim`` gave besides.
    out : pathlib.Path or None
        The new file; checked before.
    granularity, threads, provider, name, pause_s
        As for `partition.routing.sweep.measure_lengths`.
    as_json : bool
        Print the file's content instead of tables.
    """
    from partition.arguments import dims
    from partition.files import write_json
    from partition.routing.sweep import doubts, measure_lengths

    dim, ends, others = lengths
    with steps(1) as step:
        step.start(f"measuring {model.name} at {dim} = {ends[0]} to {ends[1]}")
        timings = measure_lengths(
            model,
            dim,
            ends,
            dims=dims(others),
            granularity=granularity,  # type: ignore[arg-type]
            threads=threads,
            provider=provider,
            name=name,
            pause_s=pause_s,
            progress=step.share,
        )
    content = timings.to_json()
    if out is not None:
        write_json(out, content)
    for doubt in doubts(timings.samples, timings.latency, dim):
        warn(doubt)
    if as_json:
        show_json(content)
        return
    console().print(lengths_view(timings))
    if out is not None:
        console().print(f"written: {out} (it is for lengths, in partition_by_length and networks)", soft_wrap=True)


def lengths_view(timings: "LengthTimings") -> "Group":
    """Build the tables of a measurement: measured against fitted, and the layers that take longest."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    measured = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (timings.dim, "runs", "median ms", "fitted ms", "error", ""):
        measured.add_column(column, justify="right")
    for sample in timings.samples:
        fitted_s = timings.latency.extended(sample.length)
        measured.add_row(
            str(sample.length),
            str(len(sample.times_s)),
            f"{sample.median_s * 1e3:.4g}",
            f"{fitted_s * 1e3:.4g}",
            f"{fitted_s / sample.median_s - 1:+.1%}",
            "held out" if sample.held_out else "",
        )
    ends = (timings.least, timings.most)
    seconds = timings.layer_seconds(ends)
    layers = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    layers.add_column("slowest layers", overflow="fold")
    for length in ends:
        layers.add_column(f"ms at {timings.dim}={length}", justify="right")
    order = sorted(range(len(timings.layers)), key=lambda number: -seconds[-1, number])
    for number in order[:_SLOWEST_SHOWN]:
        layers.add_row(Text(timings.layers[number].id), *(f"{one * 1e3:.4g}" for one in seconds[:, number].tolist()))
    lines: list[RenderableType] = [Text(str(timings)), measured, layers]
    more = len(order) - _SLOWEST_SHOWN
    if more > 0:
        lines.append(Text(f"and {more} more layers"))
    lines += [Text(f"note: {note}") for note in timings.notes]
    return Group(*lines)
