"""Arguments that several commands take, and how they are checked before any work is done."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from partition.errors import InputError, VerificationError
from partition.latency.machines import shipped_machines

if TYPE_CHECKING:
    from partition.runtime.verify import Verification

_Value = TypeVar("_Value")

TOKEN_VARIABLE = "DNN_PARTITION_TOKEN"
"""Where both sides read the token: in the arguments every user of the machine could see it."""

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.", show_default=False)]
PlanArgument = Annotated[
    Path, typer.Argument(metavar="OUT", help="A folder of `split`, `parts` or `exits`.", show_default=False)
]
_MACHINES = ", ".join(shipped_machines())
BandwidthOption = Annotated[
    str | None,
    typer.Option("--bandwidth", "-b", help="Uplink: 3g, 4g, wifi, or a rate such as 8.8Mbps.", show_default=False),
]
DownlinkOption = Annotated[str | None, typer.Option(help="Downlink rate.", show_default="preset's, or as uplink")]
RttOption = Annotated[str | None, typer.Option(help="Round trip, such as 40ms.", show_default="preset's, or 40ms")]
DeviceOption = Annotated[str, typer.Option(help=f"Machine or timings file, or one of: {_MACHINES}.")]
ServerOption = Annotated[str, typer.Option(help="The same for the server.")]
OutputOnOption = Annotated[str, typer.Option(help="Where the outputs are wanted: device, server or any.")]
CutOption = Annotated[
    list[str] | None, typer.Option(metavar="TENSOR", help="Cut here instead, and compare; repeatable.")
]
InputBytesOption = Annotated[
    list[str] | None, typer.Option(metavar="INPUT=SIZE", help="Wire size of an encoded input; repeatable.")
]
DeviceThreadsOption = Annotated[
    int | None, typer.Option(help="Threads of the runtime on the device.", show_default="its file's")
]
ServerThreadsOption = Annotated[int | None, typer.Option(help="The same on the server.", show_default="its file's")]
ServerLoadOption = Annotated[str | None, typer.Option(help="The same for the server.", show_default="0")]
RadioOption = Annotated[
    str | None, typer.Option(help="For energy: 3g, 4g or wifi.", show_default="machine file's power")
]
MethodOption = Annotated[str, typer.Option(help="Solver: auto, chain, dp, min-cut or milp.")]
DimOption = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="NAME=N", help="Value of a symbolic dimension, such as seq=128; repeatable."),
]
InputOption = Annotated[
    Path | None,
    typer.Option(
        "--input",
        "-i",
        metavar="FILE",
        help=".npz file with one array per input; tells symbolic dimensions and what only a run can tell.",
        show_default="random inputs",
    ),
]
VisitsOption = Annotated[
    str,
    typer.Option(
        "--max-server-visits", metavar="N", help="How often an inference may go to the server: 1, 2, ... or 'any'."
    ),
]
GranularityOption = Annotated[
    str, typer.Option(help="'layer': cut between what the runtime fuses; 'node': between any two nodes.")
]
ThreadsOption = Annotated[int | None, typer.Option(help="Threads of the runtime.", show_default="the runtime's choice")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
TimingOption = Annotated[
    bool, typer.Option("--timing", help="With --verify: time the stages here, against what was predicted.")
]
NameOption = Annotated[str | None, typer.Option(help="The machine's name.", show_default="its host name")]
ProviderOption = Annotated[str, typer.Option(help="Execution provider of the runtime.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace an existing file, or a folder that an earlier run wrote.")
]

AnnotateOption = Annotated[
    Path | None,
    typer.Option(
        "--annotate",
        metavar="FILE",
        help="Write a copy of the model whose nodes tell their layer and machine, for a viewer such as Netron.",
        show_default=False,
    ),
]
LinkWeightsOption = Annotated[
    bool,
    typer.Option(
        "--link-weights",
        help="Hard-link a model's external data into the new folder instead of copying what each part reads. The "
        "package onnx refuses data with more than one link, the original model's too; the runtime does not.",
    ),
]
HashWeightsOption = Annotated[
    bool, typer.Option("--hash-weights", help="Also store hashes of external data, for `run --check-weights`.")
]
CheckWeightsOption = Annotated[
    bool, typer.Option("--check-weights", help="Read and compare external data, saved with --hash-weights.")
]


def check_annotated_copy(path: Path | None, model: Path, *, force: bool) -> None:
    """Refuse, before any work, a copy that could not be written or would replace the model itself."""
    if path is None:
        return
    check_output_file(path, "annotated copy", force=force)
    if os.path.realpath(path) == os.path.realpath(model):
        raise InputError(f"annotated copy '{path}' is the model itself; choose another file")


def check_output_file(path: Path, what: str, *, force: bool) -> None:
    """Refuse, before the work that it is for, a file that could not be written after it."""
    try:
        if path.is_dir():
            raise InputError(f"{what} '{path}' is a folder; give the path of a file")
        if os.path.lexists(path) and not force:
            raise InputError(f"{what} '{path}' exists; choose another, or pass --force")
        # Tried, because permissions alone do not tell; nothing is left of it.
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(
            f"{what} '{path}' cannot be written: {error.strerror or error}; "
            "give the path of a file in an existing folder that you may write to"
        ) from error


def pairs(entries: list[str] | None, option: str) -> dict[str, str]:
    """Read what a repeatable option of the form NAME=VALUE got."""
    found = {}
    for entry in entries or ():
        name, separator, value = entry.rpartition("=")
        if not separator or not name or not value:
            raise InputError(f"{option} got '{entry}'; write it as NAME=VALUE")
        if name in found:
            raise InputError(f"{option} gives '{name}' more than once; keep one of them")
        found[name] = value
    return found


def ranges(entries: list[str] | None) -> dict[str, str] | None:
    """Read the option ``--adapt``; a range without a name is the bandwidth's."""
    if not entries:
        return None
    return pairs([entry if "=" in entry else f"bandwidth={entry}" for entry in entries], "--adapt")


def check_timing(timing: bool, verify: bool) -> None:
    """Refuse ``--timing`` without ``--verify``."""
    if timing and not verify:
        raise InputError("--timing compares what --verify runs with what was predicted; pass --verify, too")


def require_equal(verification: "Verification | None") -> None:
    """End the command with an error if a verification failed."""
    if verification is not None and not verification.ok:
        raise VerificationError("the parts do not compute what the whole model computes; please report this model")


# Of a number that an option takes; Python itself reads only so many.
_MOST_DIGITS = 18


def visits(text: str) -> int | None:
    """Read the option ``--max-server-visits``."""
    if text == "any":
        return None
    _check_length(text, "--max-server-visits")
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InputError(f"--max-server-visits {text}: '{text}' is not a whole number of 1 or more, nor 'any'")
    return int(text)


def dims(entries: list[str] | None) -> dict[str, int]:
    """Read the option ``--dim``."""
    found = {}
    for name, value in pairs(entries, "--dim").items():
        _check_length(value, f"--dim {name}")
        if not value.isascii() or not value.isdigit():
            raise InputError(f"--dim {name}={value}: '{value}' is not a whole number")
        found[name] = int(value)
    return found


def length_range(entries: list[str] | None) -> tuple[str, tuple[int, int], list[str]] | None:
    """Take the one range, such as seq=1..512, out of what the option ``--dim`` got; None if there is none.

    Returns the dimension, its least and greatest length, and the other entries.
    """
    found = [entry for entry in entries or () if ".." in entry.rpartition("=")[2]]
    if not found:
        return None
    if len(found) > 1:
        raise InputError(f"--dim gives ranges for {' and '.join(found)}; give one of them as a number")
    name, _, text = found[0].rpartition("=")
    least, _, most = text.partition("..")
    ends = dims([f"least={least}", f"most={most}"]) if name and least.isdigit() and most.isdigit() else {}
    if not ends:
        raise InputError(f"--dim got '{found[0]}'; write a range as NAME=LEAST..MOST, such as seq=1..512")
    return name, (ends["least"], ends["most"]), [entry for entry in entries or () if entry != found[0]]


def _check_length(text: str, option: str) -> None:
    if len(text) > _MOST_DIGITS:
        raise InputError(
            f"{option} got '{text[:_MOST_DIGITS]}...'; legal are whole numbers of up to {_MOST_DIGITS} digits"
        )


def given(**values: _Value | None) -> dict[str, _Value]:
    """Return the options that were given, by their role."""
    return {role: value for role, value in values.items() if value is not None}
