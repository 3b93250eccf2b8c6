"""The result of choosing exits: which the device decides, at which confidence, and the plan for what remains."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from partition.plan import Plan
from partition.plan_records import PlanPart, TensorInfo

if TYPE_CHECKING:
    from graph_io import LayerGraph
    from partition.exits.family import Way
    from partition.exits.session import ExitSession
    from partition.remote.options import RemoteOptions
    from partition.v2.input_codec import InputCodec

AccuracySource: TypeAlias = Literal["measured", "floor", "given"]
"""Measured; measured without codecs, less all that these may change; or as the user gave it."""

REST_FOLDER = "rest"


@dataclass(frozen=True, slots=True)
class ExitHead:
    """An exit that is decided on the device, and the layers that lead to it from the exit before.

    Attributes
    ----------
    exit : str
        Its name.
    output : str
        The tensor whose confidence decides.
    threshold : float
        It stops at this confidence or a greater one.
    share : float
        Of the measured inputs, those that stop here.
    stop_latency_s : float
        Predicted, from the beginning to the answer of this exit.
    part : PlanPart
        The submodel. It puts out `output` and what later ones read.
    """

    exit: str
    output: str
    threshold: float
    share: float
    stop_latency_s: float
    part: PlanPart


@dataclass(frozen=True, slots=True)
class TradeOff:
    """One policy of the trade-off curve: none of the others is as accurate and expected to be faster.

    Attributes
    ----------
    device_exits : tuple of str
    thresholds : tuple of float
        One for each of them.
    final : str
    cut : tuple of str
        What the rest sends.
    expected_latency_s, slowest_latency_s : float
    accuracy : float
    accuracy_source : {"measured", "floor", "given"}
    """

    device_exits: tuple[str, ...]
    thresholds: tuple[float, ...]
    final: str
    cut: tuple[str, ...]
    expected_latency_s: float
    slowest_latency_s: float
    accuracy: float
    accuracy_source: AccuracySource


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExitPolicy:
    """Which exits are decided on the device, when they answer, and where the rest is cut.

    Attributes
    ----------
    name : str
        Of the family.
    joint : bool
        Whether the exits are outputs of one model, so that each goes on where the one before stopped.
    exits : tuple of str
        All exits of the family, from the earliest to the last.
    confidence : str
        How the confidence of an output is computed; see `partition.exits.confidence`.
    heads : tuple of ExitHead
        The exits that are decided on the device, in order; there may be none.
    final : str
        The exit that answers where no other did.
    final_output : str
        Its tensor, an output of the rest.
    rest_share : float
        Of the measured inputs, those that go on to the rest; 1 without heads.
    plan : Plan
        Of the rest.
    accuracy : float
    accuracy_standard_error : float or None
        None where the accuracies were given.
    accuracy_source : {"measured", "floor", "given"}
    n_inputs : int or None
        How many inputs were measured.
    data : str or None
        Where these come from.
    deadline_s, accuracy_bound : float or None
        What was asked for.
    margin : float
        The share of the deadline that is kept free.
    tradeoff : tuple of TradeOff
        The undominated policies (expected latency, accuracy), the fastest first; within the deadline if there is one.
    assumptions : tuple of str
    library_version, runtime_version : str
    source : tuple of networkx.DiGraph, or pathlib.Path
        The layer graphs of the heads, or the folder that it was loaded from.
    plan_sha256 : str or None
        Of the ``plan.json`` of the rest; None until it is saved.
    """

    manifest: ClassVar[str] = "policy.json"

    name: str
    joint: bool
    exits: tuple[str, ...]
    confidence: str
    heads: tuple[ExitHead, ...]
    final: str
    final_output: str
    rest_share: float
    plan: Plan
    accuracy: float
    accuracy_standard_error: float | None
    accuracy_source: AccuracySource
    n_inputs: int | None
    data: str | None
    deadline_s: float | None
    accuracy_bound: float | None
    margin: float
    tradeoff: tuple[TradeOff, ...]
    assumptions: tuple[str, ...]
    library_version: str
    runtime_version: str
    source: "tuple[LayerGraph, ...] | Path"
    plan_sha256: str | None = None

    @property
    def way(self) -> "Way":
        """The exits decided on the device, and the final one."""
        from partition.exits.family import Way

        return Way(self.device_exits, self.final)

    @property
    def device_exits(self) -> tuple[str, ...]:
        """Names of the exits that are decided on the device, in order."""
        return tuple(head.exit for head in self.heads)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The confidence from which each of them answers."""
        return tuple(head.threshold for head in self.heads)

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the measured inputs, those that each of them answers, and last those of the final exit."""
        return (*(head.share for head in self.heads), self.rest_share)

    @property
    def stop_latency_s(self) -> tuple[float, ...]:
        """Predicted latency where each of them answers, and last that of the final exit."""
        return (*(head.stop_latency_s for head in self.heads), self.slowest_latency_s)

    @property
    def slowest_latency_s(self) -> float:
        """Predicted latency where no exit of the device answers."""
        return (self.heads[-1].stop_latency_s if self.heads else 0.0) + self.plan.latency_s

    @property
    def expected_latency_s(self) -> float:
        """Predicted latency, weighted by the measured shares."""
        return sum(share * seconds for share, seconds in zip(self.shares, self.stop_latency_s, strict=True))

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What a session takes, as planned: all that heads and rest read and no head puts out."""
        found: dict[str, TensorInfo] = {}
        made: set[str] = set()
        for read, puts_out in (
            *((head.part.inputs, head.part.outputs) for head in self.heads),
            (self.plan.model.inputs, ()),
        ):
            for one in read:
                if one.name not in made:
                    found.setdefault(one.name, one)
            if self.joint:
                made.update(one.name for one in puts_out)
        return tuple(found.values())

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(one.name for one in self.inputs)

    def __repr__(self) -> str:
        stops = ", ".join(f"{head.exit} at {head.threshold:.4g}" for head in self.heads) or "none on the device"
        return f"<ExitPolicy of {self.name!r}: {stops}, then {self.final}, {self.expected_latency_s * 1e3:.4g} ms>"

    def __str__(self) -> str:
        from partition.exits.view import policy_text

        return policy_text(self)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``policy.json``."""
        from partition.exits.policy_file import policy_to_json

        return policy_to_json(self)

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> "ExitPolicy":
        """Write the heads, the plan of the rest and ``policy.json`` into a new folder.

        Parameters
        ----------
        folder : path
            Appears whole or not at all. ``rest`` in it is an ordinary folder of a plan, which a server serves.
        overwrite : bool
            Replace a folder that holds an earlier policy, and nothing else.

        Returns
        -------
        ExitPolicy
            The same policy, with sizes and hashes of its files, with the folder as its source.

        Raises
        ------
        InputError
            The folder exists, or cannot be written, or the runtime refuses a part.
        """
        from partition.exits.policy_folder import save_policy

        return save_policy(self, Path(folder), overwrite=overwrite)

    def session(
        self,
        *,
        server: str | None = None,
        token: str | None = None,
        ca_file: str | None = None,
        options: "RemoteOptions | None" = None,
        codecs: "Mapping[str, InputCodec] | None" = None,
        threads: int | None = None,
    ) -> "ExitSession":
        """Open the heads here, and the rest as `Plan.session` does: in this process, or also on a server.

        Parameters
        ----------
        server, token, ca_file, options, codecs
            Of the rest; see `Plan.session`. The server serves the folder ``rest``, or the policy's by
            ``dnn-partition serve``.
        threads : int, optional
            Of each runtime session here.

        Returns
        -------
        ExitSession

        Raises
        ------
        InputError, partition.remote.errors.RemoteError
            See `Plan.session`.
        """
        from partition.exits.session import open_exit_session

        return open_exit_session(
            self, server=server, token=token, ca_file=ca_file, options=options, codecs=codecs, threads=threads
        )

    def report(self, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
        """Write one HTML file: the policy in a sentence, the trade-off curve, and the figures of the rest's plan.

        Parameters
        ----------
        path : path
            The file holds everything that it shows, and runs no script.
        overwrite : bool
            Replace an existing file.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InputError
            The file exists or cannot be written.
        """
        from partition.exits.report import write_policy_report

        return write_policy_report(self, Path(path), overwrite=overwrite)

    def plot(self, path: str | PathLike[str] | None = None, *, overwrite: bool = False) -> str:
        """Draw the trade-off curve; other figures are those of the rest, ``policy.plan.plot(kind)``.

        Parameters
        ----------
        path : path, optional
            A file to write: ``.svg``, or ``.png`` where the package resvg_py is installed (extra ``plot``).
        overwrite : bool
            Replace an existing file.

        Returns
        -------
        str
            The figure as SVG.

        Raises
        ------
        InputError
            Another ending; the file exists or cannot be written.
        """
        from partition.exits.report import plot_tradeoff

        return plot_tradeoff(self, None if path is None else Path(path), overwrite=overwrite)


def is_policy_folder(folder: Path) -> bool:
    """Say whether a folder, or the manifest that is named in its place, is that of a saved policy."""
    return folder.name == ExitPolicy.manifest or (folder / ExitPolicy.manifest).is_file()


def served_folder(folder: Path) -> Path:
    """Return what a server serves of a folder: of a saved policy its rest, of any other the folder itself."""
    if not is_policy_folder(folder):
        return folder
    return (folder.parent if folder.name == ExitPolicy.manifest else folder) / REST_FOLDER


def load_exit_policy(folder: str | PathLike[str], *, check_weights: bool = False) -> ExitPolicy:
    """Read a saved policy.

    Parameters
    ----------
    folder : path
        As `ExitPolicy.save` wrote it.
    check_weights : bool
        See `load_plan`.

    Returns
    -------
    ExitPolicy

    Raises
    ------
    InputError
        ``policy.json`` is missing, of another version or damaged; a file is missing or is not the one that was saved.
    """
    from partition.exits.policy_folder import load_policy

    return load_policy(Path(folder), check_weights=check_weights)
