"""A plan as a folder: the parts as ONNX files and ``plan.json``, whole or not at all."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from partition.errors import InputError
from partition.files import read_json, write_json
from partition.plan import Plan, PlanPart
from partition.plan_file import plan_from_json, plan_to_json

PLAN_FILE = "plan.json"
_READ_BYTES = 1 << 20


def save_plan(plan: Plan, folder: Path, *, overwrite: bool) -> Plan:
    """Write a plan; see `Plan.save`."""
    check_output_folder(folder, overwrite=overwrite)
    new_parents = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        _remove_empty(new_parents)
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error
    try:
        saved = _write(plan, draft)
        _move_into_place(draft, folder)
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error
    finally:
        # Also on Ctrl-C: what was moved into place is no longer here.
        shutil.rmtree(draft, ignore_errors=True)
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
            raise InputError(f"output folder '{folder}' exists; choose another, or pass --force (overwrite=True)")
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
    entries = list(folder.iterdir())
    is_plan = any(entry.name == PLAN_FILE for entry in entries)
    foreign = sorted(
        entry.name
        for entry in entries
        # Without plan.json even a file that is named like a part is somebody's own.
        if not is_plan
        or not entry.is_file()
        or (entry.name != PLAN_FILE and not (entry.name.startswith("part-") and entry.suffix == ".onnx"))
    )
    if foreign:
        raise InputError(
            f"output folder '{folder}' holds '{foreign[0]}', which no plan wrote, so it is not replaced; choose another"
        )


def _write(plan: Plan, draft: Path) -> Plan:
    from partition.runtime.session import part_bytes, part_options

    contents = part_bytes(plan)
    parts = []
    for part, content in zip(plan.parts, contents, strict=True):
        path = draft / part.file
        path.write_bytes(content)
        _open_once(path, part.file, part_options(len(content), threads=1))
        parts.append(replace(part, file_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()))
    saved = replace(plan, parts=tuple(parts), source=draft)
    write_json(draft / PLAN_FILE, plan_to_json(saved))
    # mkdtemp makes a private folder; what the user asked for has the user's usual permissions.
    mask = os.umask(0)
    os.umask(mask)
    draft.chmod(0o777 & ~mask)
    return saved


def _open_once(path: Path, name: str, options: Any) -> None:
    """Let the runtime accept a part before anybody is told that it exists."""
    import onnxruntime

    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no public base class
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name} cannot be opened by onnxruntime, so nothing was written: {reason}") from error


def _move_into_place(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
        return
    former = Path(tempfile.mkdtemp(prefix=f".{folder.name}-former-", dir=folder.parent))
    try:
        folder.rename(former / "plan")
        draft.rename(folder)
    except BaseException:
        # Also on Ctrl-C: the earlier plan comes back before its temporary place is removed.
        if not folder.exists():
            (former / "plan").rename(folder)
        raise
    finally:
        shutil.rmtree(former, ignore_errors=True)


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
    folder = Path(folder)
    path = folder / PLAN_FILE
    plan = plan_from_json(read_json(path, "plan file"), f"plan file '{path}'", folder)
    for part in plan.parts:
        _check_file(folder, part)
    return plan


def _check_file(folder: Path, part: PlanPart) -> None:
    path = folder / part.file
    if Path(part.file).name != part.file:
        raise InputError(
            f"plan file '{folder / PLAN_FILE}': part '{part.file}' is a path; parts lie in the plan's folder"
        )
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise InputError(f"part '{path}' cannot be read: {error.strerror or error}; save the plan again") from error
    if digest.hexdigest() != part.sha256:
        raise InputError(
            f"part '{path}' is not the file that was saved with this plan (its hash differs); save it again"
        )
