"""A plan as a folder: the parts as ONNX files and ``plan.json``, whole or not at all."""

import contextlib
import hashlib
import os
import secrets
import shutil
from dataclasses import replace
from os import PathLike
from pathlib import Path

from partition.errors import InputError
from partition.files import read_json, write_json
from partition.plan import Plan
from partition.plan_file import PLAN_FORMAT, plan_from_json, plan_to_json

PLAN_FILE = "plan.json"
_PREPACKING_LIMIT_BYTES = 512 * 1024 * 1024


def save_plan(plan: Plan, folder: Path, *, overwrite: bool) -> Plan:
    """Write a plan; see `Plan.save`."""
    check_output_folder(folder, overwrite=overwrite)
    new_parents = [parent for parent in folder.parents if not parent.exists()]
    # Named before it is made, so that whatever happens in between, Ctrl-C included, it is known what to remove.
    workspace = folder.parent / f".{folder.name}-{secrets.token_hex(8)}"
    draft, former = workspace / "plan", workspace / "former"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        workspace.mkdir(mode=0o700)
        draft.mkdir()
        saved = _write(plan, draft)
        # Once more: writing a large model takes a while, and what has come up there meanwhile is not ours.
        check_output_folder(folder, overwrite=overwrite)
        _move_into_place(draft, folder, former)
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error
    finally:
        _remove_workspace(workspace, former, folder)
        _remove_empty(new_parents)
    return replace(saved, source=folder)


def check_output_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that exists, unless an earlier plan in it may be replaced.

    Raises
    ------
    InputError
        It exists and `overwrite` is false, or it holds anything but a plan, or it cannot be looked at.
    """
    try:
        if not os.path.lexists(folder):
            return
        if not overwrite:
            # A file or a link is not replaced by a folder, so nobody is sent to --force for one.
            kind = "link" if folder.is_symlink() else None if folder.is_dir() else "file"
            way = f"this one is a {kind}, not a folder" if kind else "or pass --force (overwrite=True)"
            raise InputError(f"output folder '{folder}' exists; choose another, {way}")
        _check_replaceable(folder)
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders made for a plan that did not come, innermost first; one that holds something stays."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _check_replaceable(folder: Path) -> None:
    """Refuse to delete anything but an earlier plan."""
    if not folder.is_dir() or folder.is_symlink():
        raise InputError(f"output folder '{folder}' is not a folder, so it is not replaced; choose another")
    known = _files_of_plan(folder / PLAN_FILE)
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in known or not entry.is_file())
    if foreign:
        raise InputError(
            f"output folder '{folder}' holds '{foreign[0]}', which no plan wrote, so it is not replaced; choose another"
        )


def _files_of_plan(path: Path) -> set[str]:
    """Return the names of a saved plan's files; none if `path` is not a plan of ours, whatever it is called."""
    try:
        content = read_json(path, "plan file")
    except InputError:
        return set()
    parts = content.get("parts")
    if content.get("format") != PLAN_FORMAT or not isinstance(parts, list):
        return set()
    files = [part.get("file") for part in parts if isinstance(part, dict)]
    return {PLAN_FILE, *(file for file in files if isinstance(file, str))}


def _write(plan: Plan, draft: Path) -> Plan:
    from partition.runtime.parts import part_bytes

    contents = part_bytes(plan)
    parts = []
    for part, content in zip(plan.parts, contents, strict=True):
        path = draft / part.file
        path.write_bytes(content)
        _open_once(path, part.file, len(content))
        parts.append(replace(part, file_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()))
    saved = replace(plan, parts=tuple(parts), source=draft)
    write_json(draft / PLAN_FILE, plan_to_json(saved))
    return saved


def _open_once(path: Path, name: str, size_bytes: int) -> None:
    """Let the runtime accept a part before anybody is told that it exists."""
    from partition.runtime.parts import open_part, session_options

    options = session_options(threads=1)
    if size_bytes > _PREPACKING_LIMIT_BYTES:
        # Nothing is run here, and packed copies of the weights would double the memory.
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        open_part(str(path), name, options)
    except InputError as error:
        raise InputError(f"{error}; nothing was written") from error


def _move_into_place(draft: Path, folder: Path, former: Path) -> None:
    if os.path.lexists(folder):
        folder.rename(former)
    draft.rename(folder)


def _remove_workspace(workspace: Path, former: Path, folder: Path) -> None:
    """Remove what is temporary; an earlier plan that was moved away, but not replaced, comes back first."""
    if os.path.lexists(former) and not os.path.lexists(folder):
        try:
            former.rename(folder)
        except OSError as error:
            raise InputError(
                f"output folder '{folder}' could not be replaced ({error.strerror or error}); "
                f"its earlier plan is now at '{former}', move it back from there"
            ) from error
    shutil.rmtree(workspace, ignore_errors=True)


def load_plan(folder: str | PathLike[str]) -> Plan:
    """Read a saved plan.

    Parameters
    ----------
    folder : path
        As `Plan.save` wrote it.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        ``plan.json`` is missing, of another version or damaged; a part is missing or is not the one that was saved.
    """
    from partition.runtime.parts import check_part

    folder = Path(folder)
    path = folder / PLAN_FILE
    plan = plan_from_json(read_json(path, "plan file"), f"plan file '{path}'", folder)
    for part in plan.parts:
        check_part(folder, part)
    return plan
