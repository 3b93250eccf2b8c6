"""What the exits of a family are worth: for each input how sure each exit was, and how right."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from partition.codecs.data import DataSource, read_data_source
from partition.codecs.table import CodecTable, read_codec_table
from partition.errors import InputError
from partition.exits.confidence import CONFIDENCES
from partition.exits.family import MOST_EXITS, Way
from partition.files import FieldReader, read_json, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from partition.exits.family import ExitFamily
    from partition.exits.score import Score

EXITS_FORMAT, EXITS_VERSION = "dnn-partition/exits", 1
MEASURED, GIVEN = "measured", "given"


@dataclass(frozen=True, slots=True, eq=False)
class ExitRecord:
    """One exit of a family.

    Attributes
    ----------
    name : str
    model_name, structure_sha256 : str
        Of the model that it is an output of.
    output : str
    accuracy : float
        0 to 1: the mean score on the data, or what was given.
    source : {"measured", "given"}
    scores : numpy.ndarray or None
        float64, one for each input of the data, 0 to 1; None where the accuracy was given.
    confidences : numpy.ndarray or None
        Likewise, any finite number.
    """

    name: str
    model_name: str
    structure_sha256: str
    output: str
    accuracy: float
    source: str
    scores: "NDArray[Any] | None" = field(default=None, repr=False)
    confidences: "NDArray[Any] | None" = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class ExitTable:
    """The exits of a family, measured on data or given.

    Attributes
    ----------
    exits : tuple of ExitRecord
        From the earliest to the last.
    confidence : {"softmax", "max"}
        How confidences are computed, here and on the device.
    score : str
        "top-1", or the function that says how right an answer is.
    data : DataSource or None
        None where accuracies were given.
    n_inputs : int
        0 where accuracies were given.
    label_name : str or None
        The array of labels in the files of the data.
    codecs : mapping of Way to CodecTable
        What codecs cost and lose on the rest of a way; may be empty.
    notes : tuple of str
    shapes : mapping of str to tuple of int
        Of each input of the models, as measured; empty where accuracies were given.
    inputs : tuple of mappings
        The data, while it is in memory: policies with codecs are measured on it.
    labels : tuple
        Likewise.
    score_function : callable or None
        Likewise, of a score of the user's.
    """

    exits: tuple[ExitRecord, ...]
    confidence: str
    score: str
    data: DataSource | None
    n_inputs: int
    label_name: str | None = None
    codecs: Mapping[Way, CodecTable] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: "tuple[Mapping[str, NDArray[Any]], ...]" = field(default=(), repr=False)
    labels: tuple[Any, ...] = field(default=(), repr=False)
    score_function: "Score | None" = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<ExitTable of {len(self.exits)} exits, {self.data or 'accuracies given'}>"

    def __str__(self) -> str:
        from partition.exits.table_view import table_text

        return table_text(self)

    @property
    def measured(self) -> bool:
        """Whether accuracies and confidences were measured, so that a device may decide by them."""
        return self.data is not None

    def exit(self, name: str) -> ExitRecord:
        """Return an exit by its name.

        Raises
        ------
        InputError
            There is none of that name.
        """
        found = next((one for one in self.exits if one.name == name), None)
        if found is None:
            raise InputError(f"exit '{name}' is not in this table; it has {', '.join(one.name for one in self.exits)}")
        return found

    def check(self, family: "ExitFamily") -> None:
        """Refuse a family that these figures are not of.

        Raises
        ------
        InputError
            Other exits, in another order, or another model behind one of them.
        """
        from graph_io import structure_sha256

        names = tuple(one.name for one in self.exits)
        if names != family.names:
            raise InputError(
                f"the exits file is of {', '.join(names)}, and the exits of '{family.name}' are "
                f"{', '.join(family.names)}; name the same in the same order, or calibrate these"
            )
        hashes = {id(one.model): structure_sha256(one.model.proto) for one in family.exits}
        for record, one in zip(self.exits, family.exits, strict=True):
            if record.output != one.output or record.structure_sha256 != hashes[id(one.model)]:
                raise InputError(
                    f"the exits file is not of this model: its exit '{record.name}' is output '{record.output}' of "
                    f"'{record.model_name}' ({record.structure_sha256[:16]}), here it is '{one.output}' of "
                    f"'{one.model.name}' ({hashes[id(one.model)][:16]}); calibrate its exits"
                )

    def check_shapes(self, planned: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a plan for inputs of other shapes: a batch is less sure than one row, a cut text than a whole one.

        Raises
        ------
        InputError
            Another shape than the one that was measured.
        """
        for name, shape in self.shapes.items():
            if planned.get(name, shape) != shape:
                raise InputError(
                    f"the exits were measured on inputs '{name}' of shape {list(shape)}, and the policy is for "
                    f"{list(planned[name])}, of which neither confidences nor accuracies are known; give the same "
                    "dimensions (--dim), or calibrate the exits with these"
                )

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file; see docs/exits.md."""
        return {
            "format": EXITS_FORMAT,
            "version": EXITS_VERSION,
            "confidence": self.confidence,
            "score": self.score,
            "data": None if self.data is None else asdict(self.data),
            "n_inputs": self.n_inputs,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "label_name": self.label_name,
            "exits": [
                {
                    "name": one.name,
                    "model_name": one.model_name,
                    "structure_sha256": one.structure_sha256,
                    "output": one.output,
                    "accuracy": one.accuracy,
                    "source": one.source,
                    "scores": None if one.scores is None else one.scores.tolist(),
                    "confidences": None if one.confidences is None else one.confidences.tolist(),
                }
                for one in self.exits
            ],
            "codecs": [
                {"device_exits": list(way.device_exits), "final": way.final, "table": table.to_json()}
                for way, table in self.codecs.items()
            ],
            "notes": list(self.notes),
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as a JSON file. Raises InputError where that cannot be."""
        write_json(path, self.to_json())


def load_exits(path: str | PathLike[str]) -> ExitTable:
    """Read a file of exits that `ExitTable.save` or ``dnn-partition calibrate-exits`` wrote.

    Raises
    ------
    InputError
        It is missing, of another format or version, or damaged.
    """
    name = fspath(path)
    fields = FieldReader(read_json(name, "exits file"), f"exits file '{name}'")
    fields.header(EXITS_FORMAT, EXITS_VERSION)
    confidence = fields.text("confidence")
    if confidence not in CONFIDENCES:
        fields.refuse("confidence", confidence, f"one of {', '.join(CONFIDENCES)}")
    source = fields.optional_object("data")
    data = None if source is None else read_data_source(source)
    if data is not None and data.kind == "random":
        fields.refuse("data.kind", data.kind, "'folder' or 'memory': random inputs have no labels")
    n_inputs = fields.whole("n_inputs")
    if n_inputs != (0 if data is None else data.n_inputs):
        fields.refuse("n_inputs", n_inputs, "the number of inputs of the data, and 0 without")
    exits = tuple(_read_exit(one, n_inputs) for one in fields.objects("exits"))
    names = [one.name for one in exits]
    if not 0 < len(exits) <= MOST_EXITS or len(set(names)) < len(names):
        fields.refuse("exits", names, f"1 to {MOST_EXITS} exits, each name once")
    table = ExitTable(
        exits=exits,
        confidence=confidence,
        score=fields.text("score"),
        data=data,
        n_inputs=n_inputs,
        label_name=fields.optional_text("label_name"),
        codecs=_read_codecs(fields, names),
        notes=fields.texts("notes"),
        shapes=_read_shapes(fields.object("shapes")),
    )
    fields.finish()
    return table


def _read_shapes(fields: FieldReader) -> dict[str, tuple[int, ...]]:
    return {name: fields.wholes(name) for name in fields.names()}


def _read_exit(fields: FieldReader, n_inputs: int) -> ExitRecord:
    source = fields.text("source")
    if source != (MEASURED if n_inputs else GIVEN):
        fields.refuse("source", source, f"'{MEASURED}' on data, '{GIVEN}' without")
    accuracy = fields.non_negative("accuracy")
    if accuracy > 1:
        fields.refuse("accuracy", accuracy, "0 to 1")
    scores = _read_numbers(fields, "scores", n_inputs, share=True)
    record = ExitRecord(
        name=fields.text("name"),
        model_name=fields.text("model_name"),
        structure_sha256=fields.text("structure_sha256"),
        output=fields.text("output"),
        accuracy=accuracy,
        source=source,
        scores=scores,
        confidences=_read_numbers(fields, "confidences", n_inputs, share=False),
    )
    fields.finish()
    if scores is not None and abs(float(scores.mean()) - accuracy) > 1e-9:
        fields.refuse("accuracy", accuracy, f"the mean of the scores, {float(scores.mean())!r}")
    return record


def _read_numbers(fields: FieldReader, name: str, count: int, *, share: bool) -> "NDArray[Any] | None":
    """Take a list of finite numbers, one for each input; null where there are none."""
    import numpy as np

    values = fields.take(name)
    if values is None and not count:
        return None
    what = f"a list of {count} {'numbers from 0 to 1' if share else 'finite numbers'}" if count else "null"
    legal = isinstance(values, list) and len(values) == count > 0
    if not legal or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        fields.refuse(name, str(values)[:60], what)
    try:
        found = np.array(values, dtype=np.float64)
    except OverflowError:
        fields.refuse(name, "a number that is too large", what)
    if not np.all(np.isfinite(found)) or (share and not np.all((found >= 0) & (found <= 1))):
        fields.refuse(name, str(values)[:60], what)
    return found


def _read_codecs(fields: FieldReader, names: list[str]) -> dict[Way, CodecTable]:
    found: dict[Way, CodecTable] = {}
    for one in fields.objects("codecs"):
        way = Way(one.texts("device_exits"), one.text("final"))
        order = [names.index(name) if name in names else -1 for name in (*way.device_exits, way.final)]
        if -1 in order or order != sorted(set(order)) or way in found:
            one.refuse("device_exits", list(way.device_exits), "exits of this file in their order, each way once")
        found[way] = read_codec_table(one.object("table"))
        one.finish()
    return found
