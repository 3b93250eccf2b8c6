"""A model in K parts between cuts that the user chose: files and a manifest, without machines and a link."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from partition.errors import InputError
from partition.plan_records import ModelInfo, PlanPart, PlanStage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graph_io import Granularity, LayerGraph, ModelSource
    from partition.runtime.session import SplitSession
    from partition.runtime.verify import Verification

PARTS_FORMAT, PARTS_VERSION = "dnn-partition/parts", 1


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ModelParts:
    """A model in parts that run one after the other.

    Attributes
    ----------
    model : ModelInfo
    cuts : tuple of tuples of str
        The tensors of each cut, as given.
    parts : tuple of PlanPart
        In the order of running.
    notes : tuple of str
        What loading the model took for granted.
    library_version, runtime_version : str
        What made the parts, and the onnxruntime by which it grouped the layers.
    source : networkx.DiGraph or pathlib.Path
        The layer graph that they are parts of, or the folder that they lie in.
    """

    manifest: ClassVar[str] = "parts.json"
    # What a session asks of a plan: nothing here belongs to a machine, and no input travels.
    stages: ClassVar[tuple[PlanStage, ...]] = ()
    sent_encoded_input: ClassVar[str | None] = None
    encoded_inputs: ClassVar[Mapping[str, int]] = {}

    model: ModelInfo
    cuts: tuple[tuple[str, ...], ...]
    parts: tuple[PlanPart, ...]
    notes: tuple[str, ...]
    library_version: str
    runtime_version: str
    source: "LayerGraph | Path"

    def __repr__(self) -> str:
        return f"<ModelParts of {self.model.name!r}: {' -> '.join(part.file for part in self.parts)}>"

    def __str__(self) -> str:
        from partition.report.parts import parts_text

        return parts_text(self)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``parts.json``; see docs/files.md."""
        return {
            "format": PARTS_FORMAT,
            "version": PARTS_VERSION,
            "model": asdict(self.model),
            "cuts": [list(cut) for cut in self.cuts],
            "parts": [asdict(part) for part in self.parts],
            "notes": list(self.notes),
            "library_version": self.library_version,
            "runtime_version": self.runtime_version,
        }

    def save(
        self,
        folder: str | PathLike[str],
        *,
        overwrite: bool = False,
        link_weights: bool = False,
        hash_weights: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> "ModelParts":
        """Write the parts and ``parts.json`` into a folder; parameters and errors as of `Plan.save`.

        Parameters
        ----------
        folder, overwrite, link_weights, hash_weights, progress
            As for `Plan.save`.

        Returns
        -------
        ModelParts
            The saved parts, which can be run and verified.
        """
        from partition.saved import save_plan

        return save_plan(
            self,
            Path(folder),
            overwrite=overwrite,
            link_weights=link_weights,
            hash_weights=hash_weights,
            progress=progress,
        )

    def session(self, *, threads: int | None = None) -> "SplitSession":
        """Open all parts in this process, as ONNX Runtime sessions that run one after the other."""
        from partition.runtime.session import open_session

        return open_session(self, threads=threads)

    def verify(
        self,
        model: "ModelSource | None" = None,
        *,
        inputs: "Sequence[Mapping[str, NDArray[Any]]] | None" = None,
        seed: int = 0,
        tolerance: float | None = None,
        threads: int | None = None,
    ) -> "Verification":
        """Run the parts and the whole model on the same inputs and compare the outputs; see `Plan.verify`.

        Parameters
        ----------
        model, inputs, seed, tolerance, threads
            As for `Plan.verify`.

        Returns
        -------
        Verification
        """
        from partition.runtime.verify import verify_plan

        return verify_plan(self, model, inputs=inputs, seed=seed, tolerance=tolerance, threads=threads, timing=False)


def split_model(
    model: "ModelSource | LayerGraph",
    cuts: Sequence[str | Iterable[str]],
    *,
    dims: Mapping[str, int] | None = None,
    inputs: "Mapping[str, NDArray[Any]] | None" = None,
    granularity: "Granularity" = "layer",
) -> ModelParts:
    """Cut a model into parts at tensors of your choice, without a plan.

    Parameters
    ----------
    model : path, onnx.ModelProto or networkx.DiGraph
        As for `partition`.
    cuts : sequence of str or of iterables of str
        Each one a legal cut: a tensor, or several that together lie on every path. They may cross one another: two
        layers are in one part if they are in front of the same cuts.
    dims, inputs, granularity
        As for `partition`.

    Returns
    -------
    ModelParts
        With `save`, `session` and `verify`.

    Raises
    ------
    InputError, graph_io.ModelError
        A cut that is not legal, or that divides nothing: no layer in front of it, or none behind it, or as another.

    Examples
    --------
    >>> split_model("resnet50.onnx", ["pool1", "res4a"]).save("out/")      # doctest: +SKIP
    """
    from graph_io import head_of_cut, refine
    from partition.api import load_layers, names_of
    from partition.assembly import describe_parts, model_info, versions

    if isinstance(cuts, str) or not isinstance(cuts, Iterable):
        raise InputError(f"cuts is {cuts!r}; give a sequence of cuts, such as ['conv5_out'] or [['a', 'b'], 'c']")
    named = tuple(names_of("cut", cut) for cut in cuts)
    if not named:
        raise InputError("cuts is empty; name at least one tensor to cut at")
    graph = load_layers(model, dims, granularity, inputs)
    seen: dict[frozenset[str], tuple[str, ...]] = {frozenset(): (), frozenset(graph): ()}
    for cut in named:
        head = head_of_cut(graph, cut)
        if head in seen:
            where = "in front of it" if not head else "behind it"
            reason = f"it divides as {', '.join(seen[head])} does" if seen[head] else f"no layer lies {where}"
            raise InputError(f"the cut at {', '.join(cut)} makes no part: {reason}; leave it out")
        seen[head] = cut
    layers = refine(graph, named)
    files = [f"part-{number}.onnx" for number in range(len(layers))]
    return ModelParts(
        model=model_info(graph),
        cuts=named,
        parts=describe_parts(graph, layers, files),
        notes=tuple(graph.graph["notes"]),
        source=graph,
        **versions(),
    )


def load_parts(folder: str | PathLike[str], *, check_weights: bool = False) -> ModelParts:
    """Read parts that `ModelParts.save` wrote; parameters and errors as of `load_plan`."""
    from partition.files import FieldReader, read_json
    from partition.plan_file import check_parts, read_model, read_part
    from partition.saved import check_files

    folder = Path(folder)
    path = folder / ModelParts.manifest
    fields = FieldReader(read_json(path, "parts file"), f"parts file '{path}'")
    fields.header(PARTS_FORMAT, PARTS_VERSION)
    loaded = ModelParts(
        model=read_model(fields.object("model")),
        cuts=_read_cuts(fields.take("cuts"), f"parts file '{path}'"),
        parts=tuple(read_part(one) for one in fields.objects("parts")),
        notes=fields.texts("notes"),
        library_version=fields.text("library_version"),
        runtime_version=fields.text("runtime_version"),
        source=folder,
    )
    fields.finish()
    check_parts(loaded.model, loaded.parts, fields)
    check_files(folder, loaded.parts, check_weights=check_weights)
    return loaded


def _read_cuts(value: Any, source: str) -> tuple[tuple[str, ...], ...]:
    from partition.files import is_text

    legal = isinstance(value, list) and all(isinstance(cut, list) and all(map(is_text, cut)) for cut in value)
    if not legal:
        raise InputError(f"{source}: cuts is {str(value)[:80]}; legal is a list of lists of tensor names")
    return tuple(tuple(cut) for cut in value)
