"""A way to use exits as ONNX models: a head for each exit that is decided on the device, and the rest behind them."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from partition.errors import InputError
from partition.exits.family import ExitFamily, Way

if TYPE_CHECKING:
    from onnx import ModelProto  # noqa: TID251

# Of the names of all exits, which a file's name may hold twice; systems take 255 bytes.
_LONGEST_NAMES = 110
_NO_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """The models of one way to use exits.

    Attributes
    ----------
    way : Way
    heads : tuple of onnx.ModelProto
        One for each exit that is decided on the device. Of one model: the layers that this exit needs and no earlier
        one does; it puts out the exit's output and what later segments read. Of several models: the exit's model.
    rest : onnx.ModelProto
        What is left to compute for the final exit. It reads inputs of the user's and, of one model, what heads put out.
    head_names : tuple of str
        Names to write them under, without the ending: "head-early".
    rest_name : str
        "rest-early+late".
    head_outputs : tuple of str
        The tensor that is the answer of each head's exit.
    output : str
        The tensor that is the answer of the final exit.
    """

    way: Way
    heads: "tuple[ModelProto, ...]"
    rest: "ModelProto"
    head_names: tuple[str, ...]
    rest_name: str
    head_outputs: tuple[str, ...]
    output: str

    def __repr__(self) -> str:
        return f"<Segments {self.way}: {len(self.heads)} heads and the rest>"


def segments(family: ExitFamily, way: Way, *, dims: Mapping[str, int] | None = None) -> Segments:
    """Cut a family of exits into the models of one way to use it.

    Parameters
    ----------
    family : ExitFamily
    way : Way
        One of `ExitFamily.ways`.
    dims : mapping of str to int, optional
        Values of symbolic dimensions. The models have these as fixed dimensions; only a batch that is not given stays
        open.

    Returns
    -------
    Segments
        They compose to the family's model, or models, and hold their weights.

    Raises
    ------
    InputError, graph_io.ModelError
        A way that the family does not have; dimensions that are missing or unknown; weights of more than 2.1 GB; a
        segment that would be empty, since the runtime computes an exit together with an earlier one.
    """
    from graph_io import split_by_outputs

    if way not in set(family.ways()):
        raise InputError(f"'{way}' is no way through the exits {', '.join(family.names)} of '{family.name}'")
    used = [family.exit(name) for name in (*way.device_exits, way.final)]
    if family.joint:
        models = split_by_outputs(used[0].model, [one.output for one in used], dims=dims)
    else:
        own = dims_by_exit(family, dims or {})
        models = tuple(split_by_outputs(one.model, [one.output], dims=own[one.name])[0] for one in used)
    names = file_names(family)
    heads = tuple(f"head-{names[name]}" for name in way.device_exits)
    rest = "rest-" + "+".join(names[one.name] for one in used)
    for model, name in zip(models, (*heads, rest), strict=True):
        model.graph.name = f"{family.name}.{name}"
    outputs = tuple(one.output for one in used)
    return Segments(way, models[:-1], models[-1], heads, rest, outputs[:-1], outputs[-1])


def file_names(family: ExitFamily) -> dict[str, str]:
    """Return the exits' names as parts of file names; of any system, no two alike, and cut where they are too long."""
    plain = {name: _NO_FILE_NAME.sub("_", name) for name in family.names}
    long = sum(map(len, plain.values())) + len(plain) > _LONGEST_NAMES
    if len({one.casefold() for one in plain.values()}) == len(plain) and not long:
        return plain
    most = _LONGEST_NAMES // len(plain) - len("1_+") if long else None
    return {name: f"{number}_{one[:most]}" for number, (name, one) in enumerate(plain.items(), 1)}


def dims_by_exit(family: ExitFamily, dims: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return for each exit the dimensions that its model has; what no model has, each is to refuse."""
    from graph_io import open_dims

    known = {one.name: open_dims(one.model) for one in family.exits}
    nowhere = dims.keys() - frozenset[str]().union(*known.values())
    return {
        name: {key: size for key, size in dims.items() if key in own or key in nowhere} for name, own in known.items()
    }


def write_segments(
    family: ExitFamily,
    folder: str | PathLike[str],
    *,
    dims: Mapping[str, int] | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> tuple[Path, ...]:
    """Write the segments of all ways as ONNX files, to be measured on each machine.

    Parameters
    ----------
    family : ExitFamily
    folder : path
        Made if it is not there. Segments of the same structure are written once, since they take the same time.
    dims : mapping of str to int, optional
        As for `segments`.
    overwrite : bool
        Whether files of these names are replaced.
    progress : callable, optional
        Called with the share that is done, 0 to 1.

    Returns
    -------
    tuple of pathlib.Path
        The files, all of them or none.

    Raises
    ------
    InputError, graph_io.ModelError
        See `segments`; a file that exists, or cannot be written.
    """
    import os

    from graph_io import load_model, structure_sha256
    from partition.leftovers import Unfinished, tidied

    folder = Path(folder)
    ways = list(family.ways())
    parents = tuple(one for one in (folder, *folder.parents) if not one.exists())
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"segments folder '{folder}' is a file; give the path of a folder")
        workspace = folder / f".dnn-partition-{secrets.token_hex(8)}"
        written: dict[str, str] = {}
        with tidied(Unfinished(workspace, folder, (), parents)):
            (workspace / "new").mkdir(parents=True)
            for number, way in enumerate(ways):
                cut = segments(family, way, dims=dims)
                whole = cut.rest_name.removeprefix("rest-")
                named = [*(f"{name}-of-{whole}" for name in cut.head_names), cut.rest_name]
                for name, proto in zip(named, (*cut.heads, cut.rest), strict=True):
                    structure = structure_sha256(load_model(proto).proto)
                    if structure not in written:
                        written[structure] = f"{name}.onnx"
                        (workspace / "new" / f"{name}.onnx").write_bytes(proto.SerializeToString())
                if progress is not None:
                    progress((number + 1) / len(ways))
            files = tuple(written.values())
            there = [name for name in files if os.path.lexists(folder / name)]
            if there and not overwrite:
                raise InputError(
                    f"segments folder '{folder}' holds '{there[0]}'; choose another, or pass --force (overwrite=True)"
                )
            odd = next((name for name in there if (folder / name).is_dir()), None)
            if odd is not None:
                raise InputError(
                    f"segments folder '{folder}' holds a folder '{odd}', which is not replaced; choose another"
                )
            moving = Unfinished(workspace, folder, files, parents)
            with tidied(moving):
                moving.move_into_place(there)
    except OSError as error:
        raise InputError(f"segments folder '{folder}' cannot be written: {error.strerror or error}") from error
    return tuple(folder / name for name in files)
