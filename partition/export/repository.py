"""A model repository as a folder: it appears whole or not at all, and replaces nothing but an earlier one."""

import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from partition.errors import InputError
from partition.export.protobuf_text import Fields, message_text
from partition.files import read_json, write_json
from partition.leftovers import Unfinished, tidied
from partition.v2.names import VERSION

EXPORT_FORMAT, EXPORT_VERSION = "dnn-partition/triton", 1
_MANIFEST = "export.json"
_CONFIG = "config.pbtxt"


@dataclass(frozen=True, slots=True)
class TritonModel:
    """A folder of the repository: its configuration, and its files with where they come from or what they hold."""

    name: str
    config: Fields
    files: dict[str, Path | bytes]


def write_repository(place: Path, models: Iterable[TritonModel], backend: str, *, overwrite: bool) -> int:
    """Write the repository, whole or not at all, and return its size in bytes."""
    parents = tuple(parent for parent in place.parents if not parent.exists())
    workspace = Unfinished(
        place.parent / f".dnn-partition-{secrets.token_hex(8)}", place.parent, (place.name,), parents
    )
    size_bytes = 0
    try:
        with tidied(workspace):
            place.parent.mkdir(parents=True, exist_ok=True)
            workspace.path.mkdir(mode=0o700)
            draft = workspace.new / place.name
            draft.mkdir(parents=True)
            names = []
            for model in models:
                version = draft / model.name / VERSION
                version.mkdir(parents=True)
                (draft / model.name / _CONFIG).write_text(message_text(model.config), encoding="ascii", newline="\n")
                for name, source in model.files.items():
                    (version / name).parent.mkdir(parents=True, exist_ok=True)
                    if isinstance(source, Path):
                        shutil.copyfile(source, version / name)
                    else:
                        (version / name).write_bytes(source)
                names += [f"{model.name}/{_CONFIG}", *(f"{model.name}/{VERSION}/{name}" for name in model.files)]
            size_bytes = sum((draft / name).stat().st_size for name in names)
            manifest = {"format": EXPORT_FORMAT, "version": EXPORT_VERSION, "backend": backend, "files": names}
            write_json(draft / _MANIFEST, manifest)
            # Once more: writing takes a while, and what has come up there meanwhile is not ours.
            workspace.move_into_place(check_replaceable(place, overwrite=overwrite))
    except OSError as error:
        raise InputError(f"repository '{place}' cannot be written: {error.strerror or error}") from error
    return size_bytes


def check_replaceable(place: Path, *, overwrite: bool) -> list[str]:
    """Return the name of an earlier export that gives way, and refuse whatever else stands there."""
    if place.name in ("", ".."):
        raise InputError(f"repository '{place}' is a folder that is there in any case; give the path of a new one")
    try:
        if not os.path.lexists(place):
            return []
        if place.is_symlink() or not place.is_dir():
            raise InputError(f"repository '{place}' is not a folder, so it is not replaced; choose another")
        if not overwrite:
            raise InputError(f"repository '{place}' exists; choose another, or pass --force (overwrite=True)")
        known = _files_of_export(place / _MANIFEST)
        for parent, folders, files in os.walk(place):
            for name in (*files, *(one for one in folders if Path(parent, one).is_symlink())):
                path = Path(parent, name).relative_to(place)
                if not _is_known(path, known) or (place / path).is_symlink():
                    raise InputError(
                        f"repository '{place}' holds '{path}', which no export wrote, so it is not replaced; "
                        "choose another"
                    )
    except OSError as error:
        raise InputError(f"repository '{place}' cannot be written: {error.strerror or error}") from error
    return [place.name]


def _is_known(path: Path, known: set[str]) -> bool:
    # Python, in which Triton runs what we wrote, leaves a compiled copy beside it.
    compiled = path.parent.name == "__pycache__" and path.suffix == ".pyc"
    source = path.parent.parent / f"{path.name.partition('.')[0]}.py"
    return (source if compiled else path).as_posix() in known


def _files_of_export(path: Path) -> set[str]:
    """Return the names of what an export wrote; none if `path` is no manifest of one."""
    try:
        content = read_json(path, "export file")
    except InputError:
        return set()
    files = content.get("files")
    if content.get("format") != EXPORT_FORMAT or not isinstance(files, list):
        return set()
    return {_MANIFEST, *(name for name in files if isinstance(name, str))}
