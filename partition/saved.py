"""A plan, or a model in parts, as a folder: ONNX files and a manifest in JSON, whole or not at all."""

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from partition.errors import InputError
from partition.files import read_json, write_json
from partition.leftovers import Unfinished, tidied
from partition.model_parts import PARTS_FORMAT, ModelParts, load_parts
from partition.plan import Plan, Runnable
from partition.plan_file import PLAN_FORMAT, plan_from_json
from partition.plan_records import PlanPart

if TYPE_CHECKING:
    from graph_io import Model
    from partition.weights_store import WeightsMode

PLAN_FILE = Plan.manifest
_FORMATS = {PLAN_FILE: PLAN_FORMAT, ModelParts.manifest: PARTS_FORMAT}
_Saved = TypeVar("_Saved", Plan, ModelParts)
_LARGE_BYTES = 512 * 1024 * 1024


def save_plan(
    plan: _Saved,
    folder: Path,
    *,
    overwrite: bool,
    link_weights: bool = False,
    hash_weights: bool = False,
    progress: Callable[[float], None] | None = None,
) -> _Saved:
    """Write a plan, or a model in parts; see `Plan.save`."""
    beside = _model_of_folder(plan, folder)
    names: tuple[str, ...]
    mode: WeightsMode
    if beside is None:
        place, names, mode = folder.parent, (folder.name,), "link" if link_weights else "copy"
    else:
        place, names, mode = folder, (*(part.file for part in plan.parts), plan.manifest), "leave"

    def replaced() -> list[str]:
        if beside is not None:
            return _replaced_files(folder, names, beside, overwrite=overwrite)
        _check_folder(folder, _files_of_model(plan), overwrite=overwrite)
        return [folder.name] if os.path.lexists(folder) else []

    try:
        replaced()
        parents = tuple(parent for parent in folder.parents if not parent.exists())
        workspace = Unfinished(place / f".dnn-partition-{secrets.token_hex(8)}", place, names, parents)
        with tidied(workspace):
            place.mkdir(parents=True, exist_ok=True)
            workspace.path.mkdir(mode=0o700)
            draft = workspace.new if beside is not None else workspace.new / folder.name
            draft.mkdir(parents=True)
            saved = _write(plan, draft, folder, mode, hash_weights=hash_weights, progress=progress)
            # Once more: writing a large model takes a while, and what has come up there meanwhile is not ours.
            workspace.move_into_place(replaced())
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error
    return replace(saved, source=folder)


def check_output_folder(folder: Path, *, overwrite: bool, model: Path | None = None) -> None:
    """Refuse a folder that exists, unless an earlier plan in it may be replaced.

    The own folder of a `model` that is yet to be loaded passes: what may lie beside it is checked when a plan is saved.

    Raises
    ------
    InputError
        It exists and `overwrite` is false, or it holds anything but a plan, or the model, or it cannot be looked at.
    """
    try:
        if model is not None and os.path.realpath(folder) == os.path.realpath(model.parent):
            return
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error
    _check_folder(folder, [] if model is None else [model], overwrite=overwrite)


def _check_folder(folder: Path, kept: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse a folder that exists, unless it holds an earlier plan that may be replaced and no file that is kept."""
    try:
        if not os.path.lexists(folder):
            return
        if not overwrite:
            # A file or a link is not replaced by a folder, so nobody is sent to --force for one.
            kind = "link" if folder.is_symlink() else None if folder.is_dir() else "file"
            way = f"this one is a {kind}, not a folder" if kind else "or pass --force (overwrite=True)"
            raise InputError(f"output folder '{folder}' exists; choose another, {way}")
        _check_replaceable(folder, kept)
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error


def _files_of_model(plan: Plan | ModelParts) -> list[Path]:
    """Return the file of the model that a plan was made from and those of its weights; none of a plan from a folder."""
    if isinstance(plan.source, Path):
        return []
    from graph_io import references

    model: Model = plan.source.graph["model"]
    weights = [] if model.weights is None else [model.weights / one.location for one in references(model)]
    return [*dict.fromkeys(weights), *([] if model.path is None else [model.path])]


def _check_replaceable(folder: Path, kept: Sequence[Path]) -> None:
    """Refuse to delete anything but an earlier plan, or a file that is kept, though that plan wrote it."""
    if not folder.is_dir() or folder.is_symlink():
        raise InputError(f"output folder '{folder}' is not a folder, so it is not replaced; choose another")
    known = {name for manifest in _FORMATS for name in _files_of_plan(folder / manifest)}
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in known or not entry.is_file())
    if foreign:
        raise InputError(
            f"output folder '{folder}' holds '{foreign[0]}', which no plan wrote, so it is not replaced; choose another"
        )
    real = Path(os.path.realpath(folder))
    for file in kept:
        if real == Path(os.path.realpath(file.parent)) or Path(os.path.realpath(file)).is_relative_to(real):
            raise InputError(
                f"output folder '{folder}' holds '{file.name}', which is the model's own, so it is not replaced; "
                "choose another"
            )


def _files_of_plan(path: Path) -> set[str]:
    """Return the names of a saved plan's files; none if `path` is not a plan of ours, whatever it is called."""
    try:
        content = read_json(path, "plan file")
    except InputError:
        return set()
    parts = content.get("parts")
    if content.get("format") != _FORMATS[path.name] or not isinstance(parts, list):
        return set()
    parts = [part for part in parts if isinstance(part, dict)]
    files = [part.get("file") for part in parts]
    for part in parts:
        weights = part.get("weights_files")
        files += [
            one.get("file")
            for one in (weights if isinstance(weights, list) else ())
            if isinstance(one, dict) and one.get("own") is True
        ]
    return {path.name, *(file for file in files if isinstance(file, str))}


def _write(
    plan: _Saved,
    draft: Path,
    folder: Path,
    mode: "WeightsMode",
    *,
    hash_weights: bool,
    progress: Callable[[float], None] | None = None,
) -> _Saved:
    """Write everything into `draft`, for `folder`; weights that are left where they are lie there already."""
    from partition.runtime.parts import part_bytes
    from partition.weights_store import PlacedPart, check_space, fetch, place_weights, weights_files

    if isinstance(plan.source, Path):
        homes = [plan.source if part.weights_files else None for part in plan.parts]
    else:
        homes = [plan.source.graph["model"].weights] * len(plan.parts)
    placed = [
        PlacedPart(content, ()) if home is None else place_weights(content, part.file, home, mode)
        for part, home, content in zip(plan.parts, homes, part_bytes(plan), strict=True)
    ]
    total, done = check_space(placed, folder), 0

    def on_bytes(moved: int) -> None:
        nonlocal done
        done += moved
        if progress is not None:
            progress(done / total)

    hashed: dict[Path, str] | None = {} if hash_weights else None
    parts = []
    for part, one in zip(plan.parts, placed, strict=True):
        (draft / part.file).write_bytes(one.content)
        fetch(one, draft, on_bytes)
        if mode == "leave":
            # Its weights lie in `folder` already, the part itself not yet.
            _open_once(part, one.content, folder, optimize=False)
        else:
            whole_in_file = not one.files and len(one.content) <= _LARGE_BYTES
            _open_once(part, str(draft / part.file), None, optimize=whole_in_file)
        parts.append(
            replace(
                part,
                file_bytes=len(one.content),
                sha256=hashlib.sha256(one.content).hexdigest(),
                weights_files=weights_files(one, draft, hashed=hashed),
            )
        )
    saved = replace(plan, parts=tuple(parts), source=draft)
    write_json(draft / plan.manifest, saved.to_json())
    return saved


def _open_once(part: PlanPart, source: str | bytes, weights: Path | None, *, optimize: bool) -> None:
    """Let the runtime accept a part before anybody is told that it exists.

    Nothing is run here: of large weights packed or folded copies would double the memory, and those in files of their
    own need not be read at all.
    """
    from partition.runtime.parts import open_part, session_options

    options = session_options(threads=1, weights=weights, optimize=optimize)
    try:
        open_part(source, part.file, options)
    except InputError as error:
        raise InputError(f"{error}; nothing was written") from error


def _model_of_folder(plan: Plan | ModelParts, folder: Path) -> "Model | None":
    """Return the plan's model if this is its folder, and its weights lie in files of their own, which then stay there.

    Raises
    ------
    InputError
        They really lie in another folder.
    """
    if isinstance(plan.source, Path):
        return None
    model: Model = plan.source.graph["model"]
    if model.weights is None or model.path is None:
        return None
    if os.path.realpath(folder) != os.path.realpath(model.path.parent):
        return None
    if model.weights != Path(os.path.realpath(folder)):
        raise InputError(
            f"output folder '{folder}' is the model's own, but its weights lie in '{model.weights}', where the runtime "
            "would not let parts read them from here; choose another folder, into which they are copied"
        )
    return model


def _replaced_files(folder: Path, names: Sequence[str], model: "Model", *, overwrite: bool) -> list[str]:
    """Return the files of an earlier plan in a model's folder that give way to a new one, the manifest named last."""
    from graph_io import references

    taken = [name for name in names if os.path.lexists(folder / name)]
    if not taken:
        return []
    if not overwrite:
        raise InputError(
            f"output folder '{folder}' is the model's own and holds '{taken[0]}' already; choose another, "
            "or pass --force (overwrite=True)"
        )
    assert model.path is not None
    kept = {model.path.name, Path(os.path.realpath(model.path)).name, *(one.location for one in references(model))}
    earlier = _files_of_plan(folder / names[-1]) - kept
    foreign = next((name for name in taken if name not in earlier or not _is_plain(folder / name)), None)
    if foreign is not None:
        raise InputError(
            f"output folder '{folder}' holds '{foreign}', which is the model's or which no plan wrote, so it is not "
            "replaced; choose another"
        )
    return sorted(name for name in earlier if Path(name).name == name and _is_plain(folder / name))


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def load_plan(folder: str | PathLike[str], *, check_weights: bool = False) -> Plan:
    """Read a saved plan.

    Parameters
    ----------
    folder : path
        As `Plan.save` wrote it.
    check_weights : bool
        Also read and hash the weights that lie in files of their own; otherwise only the sizes of these files are
        compared. The plan must have been saved with ``hash_weights``.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        ``plan.json`` is missing, of another version or damaged; a part or a file of weights is missing or is not the
        one that was saved.
    """
    folder = Path(folder)
    path = folder / PLAN_FILE
    plan = plan_from_json(read_json(path, "plan file"), f"plan file '{path}'", folder)
    check_files(folder, plan.parts, check_weights=check_weights)
    return plan


def load_saved(folder: Path, *, check_weights: bool = False) -> Runnable:
    """Read a saved plan or a model in parts: whichever the folder holds, or the one whose manifest is given.

    Raises
    ------
    InputError
        The folder holds both, as that of a model may; or see `load_plan`.
    """
    found = [name for name in _FORMATS if os.path.lexists(folder / name)]
    if folder.name in _FORMATS and not folder.is_dir():
        found, folder = [folder.name], folder.parent
    if len(found) > 1:
        raise InputError(
            f"'{folder}' holds a plan and a model in parts; give the one that is meant: "
            f"{' or '.join(str(folder / name) for name in found)}"
        )
    load = load_parts if found == [ModelParts.manifest] else load_plan
    return load(folder, check_weights=check_weights)


def check_files(folder: Path, parts: Sequence[PlanPart], *, check_weights: bool) -> None:
    """Check that all files of a plan, or of a model in parts, are those that were saved; see `load_plan`."""
    from partition.runtime.parts import check_part, check_weights_file

    for part in parts:
        check_part(folder, part)
    if check_weights:
        # Parts may share the data of the model that they lie beside.
        for weights in dict.fromkeys(one for part in parts for one in part.weights_files):
            check_weights_file(folder, weights, contents=True)
