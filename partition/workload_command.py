"""The branch of ``dnn-partition split`` that takes a workload file, and which options belong to which branch."""

from pathlib import Path
from typing import Any

from partition.errors import InputError

WORKLOAD_OPTIONS = ("model", "objective", "accelerators", "cpus", "out", "force", "as_json")
_ONLY_FOR_WORKLOADS = ("accelerators", "cpus")


def is_workload(path: Path) -> bool:
    """Tell a workload file from a model by its name."""
    return path.suffix.lower() == ".json"


def check_options(context: Any, path: Path, objective: str, bandwidth: str | None) -> None:
    """Refuse options that make no sense for the file that is to be split.

    Parameters
    ----------
    context : typer.Context
        Knows which options were given.

    Raises
    ------
    InputError
        The message names the option.
    """
    flags = {one.name: max(one.opts, key=len) for one in context.command.params}
    given = [name for name in flags if context.get_parameter_source(name).name != "DEFAULT"]
    if not is_workload(path):
        if objective == "throughput":
            raise InputError(
                f"--objective throughput is for workload files (.json), and '{path}' is taken for an ONNX model; "
                "for a model use latency or energy; a workload file is recognised by .json"
            )
        for name in _ONLY_FOR_WORKLOADS:
            if name in given:
                raise InputError(
                    f"{flags[name]} is for workload files (.json), and '{path}' is taken for an ONNX model; "
                    f"leave out {flags[name]}, or give a workload"
                )
        if bandwidth is None:
            raise InputError("Missing option '--bandwidth' / '-b': the uplink, such as wifi or 8.8Mbps")
        return
    for name in given:
        if name not in WORKLOAD_OPTIONS:
            raise InputError(
                f"{flags[name]} is for ONNX models, and '{path}' is taken for a workload file; leave out {flags[name]}"
            )
    if objective != "throughput":
        chosen = objective if "objective" in given else f"{objective} (the default)"
        raise InputError(
            f"workload '{path}' cannot be split for {chosen}: its transfer times are charged to each machine and not "
            "to a link, and nothing says where its inputs and outputs are; pass --objective throughput"
        )


def split_command(path: Path, out: Path | None, *, accelerators: int | None, cpus: int | None, as_json: bool) -> None:
    """Split a workload file, print the result, and write it if asked to."""
    from partition.terminal import console, show_json, steps
    from partition.workload_placement import split_workload

    with steps(1) as step:
        step.start(f"loading and splitting {path.name}")
        placement = split_workload(path, accelerators=accelerators, cpus=cpus)
    if out is not None:
        placement.save(out)
    if as_json:
        show_json(placement.to_json())
        return
    from partition.report.workload import placement_view

    shown = console()
    shown.print(placement_view(placement))
    shown.print(
        f"written: {out}" if out is not None else "nothing written (-o FILE writes the placement)", soft_wrap=True
    )
