"""The command ``dnn-partition calibrate``: measure this machine once, write its machine file."""

from pathlib import Path

from partition.errors import InputError
from partition.latency.machines import Machine
from partition.terminal import console, show_json, steps

CHECKPOINT_SUFFIX = ".unfinished"


def calibrate_command(
    out: Path,
    *,
    quick: bool,
    share: float | None,
    threads: list[int] | None,
    provider: str,
    load: bool,
    name: str | None,
    as_json: bool,
) -> None:
    """Calibrate, write the file, and show what was found; see `partition.latency.calibrate`."""
    from partition.latency.calibrate import calibrate

    checkpoint = out.with_name(out.name + CHECKPOINT_SUFFIX)
    if checkpoint.is_dir():
        raise InputError(f"checkpoint '{checkpoint}' is a folder; remove it or give another output file")
    shown = console(stderr=True)
    if checkpoint.exists():
        shown.print(f"going on from {checkpoint}; delete it to begin anew", soft_wrap=True)
    with steps(1) as step:
        step.start("calibrating")
        step.known_length()

        def progress(share: float, what: str) -> None:
            step.say(what)
            step.share(share)

        machine = calibrate(
            threads=threads or None,
            provider=provider,
            quick=quick,
            share=share,
            load=load,
            name=name,
            checkpoint=checkpoint,
            progress=progress,
        )
    machine.save(out, overwrite=True)
    checkpoint.unlink(missing_ok=True)
    if as_json:
        show_json(machine.to_json())
        return
    _show(machine, out)


def _show(machine: Machine, out: Path) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    calibration = machine.calibration
    assert calibration is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer type", no_wrap=True)
    for column in ("threads", "timed", "error on held-out sizes"):
        table.add_column(column, justify="right")
    for (threads, group), number in sorted(calibration.group_sizes().items(), key=lambda one: (one[0][1], one[0][0])):
        error = calibration.fits[threads, group].error
        table.add_row(Text(group), str(threads), str(number), "-" if error != error else f"{error:.0%}")
    shown = console()
    shown.print(str(machine), soft_wrap=True)
    shown.print(table)
    shown.print(f"{machine.provenance} One layer's error; those of a whole model partly cancel.", soft_wrap=True)
    shown.print(f"written: {out} (use it with --device or --server)", soft_wrap=True)
