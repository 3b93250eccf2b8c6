"""A policy of exits as a folder: heads, the folder of the rest's plan, and a manifest; whole or not at all."""

import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from partition.errors import InputError
from partition.exits.policy import REST_FOLDER, ExitHead, ExitPolicy
from partition.exits.policy_file import POLICY_FORMAT, policy_from_json
from partition.files import read_json, write_json
from partition.leftovers import Unfinished, tidied
from partition.saved import check_output_folder, load_plan


def save_policy(policy: ExitPolicy, folder: Path, *, overwrite: bool) -> ExitPolicy:
    """Write a policy; see `ExitPolicy.save`."""
    from partition.runtime.parts import file_sha256

    try:
        check_policy_folder(folder, overwrite=overwrite)
        parents = tuple(parent for parent in folder.parents if not parent.exists())
        workspace = Unfinished(
            folder.parent / f".dnn-partition-{secrets.token_hex(8)}", folder.parent, (folder.name,), parents
        )
        with tidied(workspace):
            folder.parent.mkdir(parents=True, exist_ok=True)
            workspace.path.mkdir(mode=0o700)
            draft = workspace.new / folder.name
            draft.mkdir(parents=True)
            heads = _write_heads(policy, draft)
            plan = policy.plan.save(draft / REST_FOLDER)
            plan_sha256 = file_sha256(draft / REST_FOLDER / plan.manifest)
            saved = replace(policy, heads=heads, plan=plan, source=draft, plan_sha256=plan_sha256)
            write_json(draft / policy.manifest, saved.to_json())
            # Once more: writing takes a while, and what has come up there meanwhile is not ours.
            check_policy_folder(folder, overwrite=overwrite)
            workspace.move_into_place([folder.name] if os.path.lexists(folder) else [])
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error
    moved = replace(plan, source=folder / REST_FOLDER).with_basis(plan.basis)
    return replace(saved, plan=moved, source=folder)


def check_policy_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that exists, unless it holds an earlier policy that may be replaced, and nothing else.

    Raises
    ------
    InputError
    """
    try:
        if not os.path.lexists(folder):
            return
        if not folder.is_dir() or folder.is_symlink():
            raise InputError(f"output folder '{folder}' is not a folder, so it is not replaced; choose another")
        if not overwrite:
            raise InputError(f"output folder '{folder}' exists; choose another, or pass --force (overwrite=True)")
        known = _files_of_policy(folder)
        for entry in sorted(folder.iterdir()):
            if entry.name == REST_FOLDER and ExitPolicy.manifest in known:
                check_output_folder(entry, overwrite=True)
            elif entry.name not in known or not entry.is_file():
                raise InputError(
                    f"output folder '{folder}' holds '{entry.name}', which no policy wrote, so it is not replaced; "
                    "choose another"
                )
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error


def load_policy(folder: Path, *, check_weights: bool = False) -> ExitPolicy:
    """Read a saved policy; see `load_exit_policy`."""
    from partition.runtime.parts import check_part, file_sha256

    if folder.name == ExitPolicy.manifest and not folder.is_dir():
        folder = folder.parent
    path = folder / ExitPolicy.manifest
    content = read_json(path, "policy file")
    plan = load_plan(folder / REST_FOLDER, check_weights=check_weights)
    policy = policy_from_json(content, f"policy file '{path}'", folder, plan)
    if file_sha256(folder / REST_FOLDER / plan.manifest) != policy.plan_sha256:
        raise InputError(
            f"the plan in '{folder / REST_FOLDER}' is not the one that was saved with this policy (its hash differs); "
            "save the policy again"
        )
    for head in policy.heads:
        check_part(folder, head.part)
    return policy


def open_heads(policy: ExitPolicy, *, threads: int | None) -> tuple[Any, ...]:
    """Open the heads of a policy, saved or not, as sessions of the runtime.

    Raises
    ------
    InputError
        A file is missing or another, or the runtime refuses it.
    """
    from partition.runtime.parts import check_part, open_part, session_options

    options = session_options(threads=threads)
    if not isinstance(policy.source, Path):
        contents = zip(policy.heads, _contents(policy), strict=True)
        return tuple(open_part(content, head.part.file, options) for head, content in contents)
    for head in policy.heads:
        check_part(policy.source, head.part)
    files = [policy.source / head.part.file for head in policy.heads]
    return tuple(open_part(str(file), file.name, options) for file in files)


def _files_of_policy(folder: Path) -> set[str]:
    """Return the names of a saved policy's files; none if the folder holds no policy of ours."""
    try:
        content = read_json(folder / ExitPolicy.manifest, "policy file")
    except InputError:
        return set()
    heads = content.get("heads")
    if content.get("format") != POLICY_FORMAT or not isinstance(heads, list):
        return set()
    parts = [head.get("part") for head in heads if isinstance(head, dict)]
    files = [part.get("file") for part in parts if isinstance(part, dict)]
    return {ExitPolicy.manifest, *(file for file in files if isinstance(file, str))}


def _contents(policy: ExitPolicy) -> Sequence[bytes]:
    if isinstance(policy.source, Path):
        from partition.runtime.parts import check_part

        for head in policy.heads:
            check_part(policy.source, head.part)
        return [(policy.source / head.part.file).read_bytes() for head in policy.heads]
    from partition.codecs.parts import emitted_parts

    pairs = zip(policy.source, policy.heads, strict=True)
    return [emitted_parts(graph, [head.part])[0] for graph, head in pairs]


def _write_heads(policy: ExitPolicy, draft: Path) -> tuple[ExitHead, ...]:
    """Write the heads, each after the runtime has accepted it; they hold their weights."""
    from partition.runtime.parts import open_part, session_options

    heads = []
    for head, content in zip(policy.heads, _contents(policy), strict=True):
        open_part(content, head.part.file, session_options(threads=1))
        (draft / head.part.file).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        heads.append(replace(head, part=replace(head.part, file_bytes=len(content), sha256=sha256)))
    return tuple(heads)
