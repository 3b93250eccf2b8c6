"""Which tensors a stage takes and gives, and the name under which any V2 server offers it: it tells the very files."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from partition.errors import InputError
from partition.plan import Runnable
from partition.plan_records import PlanPart, TensorInfo

VERSION = "1"
"""The version of every model that is served; other files have another name."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST_NAME = 128


def stage_name(plan_name: str, parts: Mapping[int, str]) -> str:
    """Return the name of a stage as a model of a V2 server.

    Parameters
    ----------
    plan_name : str
        Name of the model that was planned; other characters than ``[A-Za-z0-9_.-]`` become ``_``, and what goes beyond
        128 characters is cut off.
    parts : mapping of int to str
        The numbers of the stage's parts in the order of running, each with its file's SHA-256 in hexadecimal, and those
        of files with its weights behind it.

    Returns
    -------
    str
        The plan's name, the numbers and 16 hexadecimal digits of a hash over those of the files.

    Raises
    ------
    InputError
        No part, or one whose hash is not known.

    Examples
    --------
    >>> stage_name("my net", {1: "00" * 32, 2: "ff" * 32})
    'my_net-1-2-e2bd2dcef148b54e'
    """
    if not parts:
        raise InputError(f"a stage of '{plan_name}' has no parts, so there is nothing to serve")
    numbers = list(parts)
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        which = f"{numbers[0]}-{numbers[-1]}"
    else:
        which = "_".join(map(str, numbers))
    digest = hashlib.sha256("".join(parts.values()).encode("ascii")).hexdigest()[:16]
    return f"{_UNSAFE.sub('_', plan_name)[:_LONGEST_NAME]}-{which}-{digest}"


@dataclass(frozen=True, slots=True)
class StageInterface:
    """A run of parts as one model: its name, its part numbers, and what goes in and comes out."""

    name: str
    parts: tuple[int, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


def stage_interface(plan: Runnable, numbers: Sequence[int]) -> StageInterface:
    """Describe a run of parts of a saved plan as one model.

    Parameters
    ----------
    plan : Plan or ModelParts
        As loaded from its folder.
    numbers : sequence of int
        Of its parts, in the order of running.

    Returns
    -------
    StageInterface
        Inputs in the order of reading; outputs, in the order of writing: what another part reads or the model gives.

    Raises
    ------
    InputError
        The plan was not saved, so its parts have no hashes yet; or it has weights in files that were not hashed.
    """
    unsaved = next((plan.parts[number].file for number in numbers if plan.parts[number].sha256 is None), None)
    if unsaved is not None:
        raise InputError(f"part '{unsaved}' was not saved yet; save the plan, and load it from its folder")
    inside = {number: plan.parts[number] for number in numbers}
    made: dict[str, TensorInfo] = {}
    read: dict[str, TensorInfo] = {}
    for part in inside.values():
        for tensor in part.inputs:
            if tensor.name not in made:
                read.setdefault(tensor.name, tensor)
        made.update({tensor.name: tensor for tensor in part.outputs})
    wanted = set(plan.model.output_names) | {
        tensor.name for number, part in enumerate(plan.parts) if number not in inside for tensor in part.inputs
    }
    return StageInterface(
        name=stage_name(plan.model.name, {number: _digest(part) for number, part in inside.items()}),
        parts=tuple(numbers),
        inputs=tuple(read.values()),
        outputs=tuple(tensor for name, tensor in made.items() if name in wanted),
    )


def _digest(part: PlanPart) -> str:
    """Return what tells a part from every other: its file's hash, and those of the files that hold its weights."""
    digest = part.sha256 or ""
    for weights in part.weights_files:
        if weights.sha256 is None:
            raise InputError(
                f"part '{part.file}' has weights in '{weights.file}', whose contents were not hashed, so nobody could "
                "tell whether a server has the same ones; save the plan again with --hash-weights (hash_weights=True)"
            )
        digest += f":{weights.sha256}"
    return digest
