"""The stages of a saved plan as a model repository for Triton: folders of ONNX files, each with its ``config.pbtxt``.

The models have the names and tensors that `partition.serve` gives them, so the same clients find them there.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from partition.errors import InputError
from partition.export.repository import TritonModel, check_replaceable, write_repository
from partition.export.triton_models import Backend, onnxruntime_models, part_edges, python_models
from partition.model_parts import ModelParts
from partition.plan import Plan, Runnable
from partition.units import check_threads
from partition.v2.names import stage_interface


@dataclass(frozen=True, slots=True)
class TritonExport:
    """A repository that was written.

    Attributes
    ----------
    folder : pathlib.Path
    backend : {"onnxruntime", "python"}
    stages : tuple of str
        Names of the models that clients ask for.
    models : tuple of str
        Names of all models: also of those that others consist of.
    size_bytes : int
    """

    folder: Path
    backend: Backend
    stages: tuple[str, ...]
    models: tuple[str, ...]
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the content as plain JSON values."""
        return {
            "folder": str(self.folder),
            "backend": self.backend,
            "stages": list(self.stages),
            "models": list(self.models),
            "size_bytes": self.size_bytes,
        }


def export_triton(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    backend: Backend = "onnxruntime",
    threads: int | None = None,
    overwrite: bool = False,
) -> TritonExport:
    """Write a model repository for Triton from what `Plan.save` or `ModelParts.save` wrote.

    Parameters
    ----------
    folder : path
        A saved plan, of which each stage on the server becomes a model, those of all placements that it adapts by; or
        a model in parts, each of which becomes one.
    target : path
        The new folder; it appears whole or not at all.
    backend : {"onnxruntime", "python"}
        Triton's own ONNX Runtime, in which a stage of several parts is an ensemble; or a small program in Triton's
        python backend, for servers without the former: it needs NumPy and onnxruntime in Triton's Python.
    threads : int, optional
        Of each part's session; if not given those of the plan's server, else the runtime's choice.
    overwrite : bool
        Replace a folder that an earlier export wrote, and nothing else.

    Returns
    -------
    TritonExport

    Raises
    ------
    InputError
        The folder cannot be loaded or has nothing for a server, Triton has no word for a tensor, or the target exists
        or cannot be written.
    """
    from partition.saved import load_saved

    if backend not in get_args(Backend):
        raise InputError(f"backend is {backend!r}; legal are 'onnxruntime' and 'python'")
    if threads is not None:
        check_threads(threads)
    place = Path(target)
    check_replaceable(place, overwrite=overwrite)
    plan = load_saved(Path(folder))
    assert isinstance(plan.source, Path)
    if threads is None and isinstance(plan, Plan):
        threads = plan.server.threads
    stages = [stage_interface(plan, numbers) for numbers in _server_stages(plan, Path(folder))]
    edges = {number: part_edges(plan, number) for stage in stages for number in stage.parts}
    models: dict[str, TritonModel] = {}
    for stage in stages:
        if not stage.inputs:
            raise InputError(f"stage '{stage.name}' has no inputs, and Triton takes no request without one")
        make = onnxruntime_models if backend == "onnxruntime" else python_models
        models.update((model.name, model) for model in make(plan, plan.source, stage, edges, threads))
    names = tuple(stage.name for stage in stages)
    size_bytes = write_repository(place, models.values(), backend, overwrite=overwrite)
    return TritonExport(place, backend, names, tuple(models), size_bytes)


def _server_stages(plan: Runnable, folder: Path) -> list[tuple[int, ...]]:
    """Return the part numbers of each stage that a server runs."""
    encoded = plan.sent_encoded_input
    if encoded is not None:
        raise InputError(
            f"the plan in '{folder}' sends input '{encoded}' as {plan.encoded_inputs[encoded]} encoded bytes, and "
            "Triton has no decoder for it; plan again without input_bytes to export it"
        )
    if isinstance(plan, ModelParts):
        return [(number,) for number in range(len(plan.parts))]
    placements = [plan.stages, *(choice.stages for choice in plan.choices)]
    found = [stage.parts for placed in placements for stage in placed if stage.machine == "server" and stage.parts]
    if not found:
        raise InputError(f"the plan in '{folder}' runs nothing on the server, so there is nothing to export")
    return [*dict.fromkeys(found)]
