"""What codecs cost on one model: bytes, times and losses by tensor, as a file that planning reads."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from graph_io.codecs import CODECS
from partition.codecs.data import DataSource, read_data_source
from partition.errors import InputError
from partition.files import FieldReader, read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from partition.codecs.metrics import Metric

CODECS_FORMAT, CODECS_VERSION = "dnn-partition/codecs", 1


@dataclass(frozen=True, slots=True)
class CodecFigures:
    """One codec on one tensor, measured.

    Attributes
    ----------
    codec : str
    size_bytes : int
        Of all that crosses in place of the tensor.
    encode_s, decode_s : float
        Medians on the machine of the table.
    loss : float or None
        By the table's metric, where all readers of the tensor get the decoded one. None if it was not finite.
    output_error : float or None
        The largest error of an output over the output's largest value. None if it was not finite.
    """

    codec: str
    size_bytes: int
    encode_s: float
    decode_s: float
    loss: float | None
    output_error: float | None


@dataclass(frozen=True, slots=True)
class TensorFigures:
    """All codecs on one tensor; a note where it gets none or not all."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    raw_bytes: int
    codecs: tuple[CodecFigures, ...]
    note: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CodecTable:
    """Measured codecs of one model.

    Attributes
    ----------
    model_name, structure_sha256 : str
        Of the model that was measured.
    machine, date, runtime_version : str
    threads : int
    model_s : float
        Median time of the whole model there: how much slower another machine is with the model, it is taken to be with
        the codecs.
    metric : str
    data : DataSource
    tensors : tuple of TensorFigures
    notes : tuple of str
    inputs : tuple of mappings
        What it was measured on, while it is in memory: several codecs at once are measured on them.
    metric_function : callable or None
        Likewise.
    """

    model_name: str
    structure_sha256: str
    machine: str
    date: str
    runtime_version: str
    threads: int
    model_s: float
    metric: str
    data: DataSource
    tensors: tuple[TensorFigures, ...]
    notes: tuple[str, ...] = ()
    inputs: "tuple[Mapping[str, NDArray[Any]], ...]" = field(default=(), repr=False)
    metric_function: "Metric | None" = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<CodecTable of {self.model_name!r}: {len(self.tensors)} tensors, {self.data}, {self.metric}>"

    def __str__(self) -> str:
        from partition.codecs.view import table_text

        return table_text(self)

    def only(self, *codecs: str) -> "CodecTable":
        """Return the same table with some codecs alone; "none" is always among the choices.

        Raises
        ------
        InputError
            A codec that does not exist.
        """
        unknown = next((one for one in codecs if one not in CODECS), None)
        if unknown is not None:
            raise InputError(f"codec '{unknown}' is unknown; use {', '.join(CODECS)}")
        kept = (replace(one, codecs=tuple(o for o in one.codecs if o.codec in codecs)) for one in self.tensors)
        return replace(self, tensors=tuple(kept))

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file; see docs/codecs.md."""
        return {
            "format": CODECS_FORMAT,
            "version": CODECS_VERSION,
            "model_name": self.model_name,
            "structure_sha256": self.structure_sha256,
            "machine": self.machine,
            "date": self.date,
            "runtime_version": self.runtime_version,
            "threads": self.threads,
            "model_s": self.model_s,
            "metric": self.metric,
            "data": asdict(self.data),
            "tensors": [asdict(one) for one in self.tensors],
            "notes": list(self.notes),
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as a JSON file. Raises InputError where that cannot be."""
        from partition.files import write_json

        write_json(path, self.to_json())


def load_codecs(path: str | PathLike[str]) -> CodecTable:
    """Read a file of codecs that `CodecTable.save` or ``dnn-partition calibrate-codecs`` wrote.

    Raises
    ------
    InputError
        It is missing, of another format or version, or damaged.
    """
    name = fspath(path)
    return read_codec_table(FieldReader(read_json(name, "codecs file"), f"codecs file '{name}'"))


def read_codec_table(fields: FieldReader) -> CodecTable:
    """Read the content of a file of codecs; errors as of `load_codecs`."""
    fields.header(CODECS_FORMAT, CODECS_VERSION)
    table = CodecTable(
        model_name=fields.text("model_name"),
        structure_sha256=fields.text("structure_sha256"),
        machine=fields.text("machine"),
        date=fields.text("date"),
        runtime_version=fields.text("runtime_version"),
        threads=fields.count("threads"),
        model_s=fields.positive("model_s"),
        metric=fields.text("metric"),
        data=read_data_source(fields.object("data")),
        tensors=tuple(_read_tensor(one) for one in fields.objects("tensors")),
        notes=fields.texts("notes"),
    )
    fields.finish()
    _check_names(table.tensors, fields)
    return table


def _check_names(tensors: Sequence[TensorFigures], fields: FieldReader) -> None:
    seen: set[str] = set()
    for number, one in enumerate(tensors):
        if one.name in seen:
            fields.refuse(f"tensors[{number}].name", one.name, "each tensor once")
        seen.add(one.name)


def _read_tensor(fields: FieldReader) -> TensorFigures:
    tensor = TensorFigures(
        name=fields.text("name"),
        dtype=fields.text("dtype"),
        shape=fields.wholes("shape"),
        raw_bytes=fields.whole("raw_bytes"),
        codecs=tuple(_read_figures(one) for one in fields.objects("codecs")),
        note=fields.optional_text("note"),
    )
    fields.finish()
    return tensor


def _read_figures(fields: FieldReader) -> CodecFigures:
    codec = fields.text("codec")
    if codec not in CODECS:
        fields.refuse("codec", codec, f"one of {', '.join(CODECS)}")
    figures = CodecFigures(
        codec=codec,
        size_bytes=fields.whole("size_bytes"),
        encode_s=fields.non_negative("encode_s"),
        decode_s=fields.non_negative("decode_s"),
        loss=_loss(fields),
        output_error=fields.optional_non_negative("output_error"),
    )
    fields.finish()
    return figures


def _loss(fields: FieldReader) -> float | None:
    """Take a number, which a metric of the user's may make negative, or null."""
    value = fields.take("loss")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        fields.refuse("loss", value, "a finite number, or null")
    return float(value)
