"""The result of planning: where to cut, what it costs, how sure that is; it prints itself, saves itself and runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, overload

from partition.errors import InputError
from partition.links import Link
from partition.plan_records import (
    Estimate,
    MachineInfo,
    ModelInfo,
    PlanChoice,
    PlanLoss,
    PlanMessage,
    PlanPart,
    PlanStage,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graph_io import LayerGraph, ModelSource
    from partition.adaptation.conditions import ConditionRange
    from partition.basis import PlanBasis
    from partition.model_parts import ModelParts
    from partition.remote.options import RemoteOptions
    from partition.remote.records import RunRecord
    from partition.remote.session import RemoteSession
    from partition.report.explanation import RunExplanation
    from partition.runtime.session import SplitSession
    from partition.runtime.timing import StageTiming
    from partition.runtime.verify import Verification
    from partition.v2.input_codec import InputCodec

FigureKind: TypeAlias = Literal["candidates", "bandwidth", "energy", "graph", "measured"]
"""What `Plan.plot` draws."""

Runnable: TypeAlias = "Plan | ModelParts"
"""What can be opened, run and verified here."""


class _Beside:
    """A place beside the fields of a plan, for what is neither stored nor compared."""

    __slots__ = ("_basis",)
    _basis: "PlanBasis"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Plan(_Beside):
    """Where a model is cut and what that is predicted to cost.

    Attributes
    ----------
    model : ModelInfo
    objective : {"latency", "energy"}
        Energy is the device's, in joules.
    output_on : {"device", "server", "any"}
    keep_inputs : bool
        Whether the model's inputs had to stay on the device.
    link : Link
    device, server : MachineInfo
    stages : tuple of PlanStage
        In the order of time; stage 0 is the device's.
    messages : tuple of PlanMessage
        One between each two stages.
    parts : tuple of PlanPart
        In the order of running.
    estimates : tuple of Estimate
        This plan first, then what it is compared with.
    chosen_by : {"solver", "user"}
        Whether this is the best cut found, or the user's own.
    method : str
        The solver that found the optimum and its bound.
    max_server_visits : int or None
        Among which plans the optimum was sought; None for any number.
    value, bound : float
        The objective of this plan, and a proven lower bound on that of any plan: seconds or joules.
    optimal : bool
        Whether the bound proves that no plan is better.
    library_version, runtime_version : str
        What made the plan, and the onnxruntime by which it grouped the layers.
    assumptions : tuple of str
        What nobody gave and the plan took for granted.
    encoded_inputs : dict of str to int
        Inputs priced at another size on the wire than their tensor's.
    choices : tuple of PlanChoice
        Placements of the same parts among which one is best under any conditions of `adapts_to`, and some for streams;
        this plan's own is among them. Empty for a plan that does not adapt.
    adapts_to : ConditionRange or None
    loss : PlanLoss or None
        What the codecs of its messages lose; None for a plan that was made without codecs.
    source : networkx.DiGraph or pathlib.Path
        The layer graph that it was planned from, or the folder that it was loaded from.
    """

    manifest: ClassVar[str] = "plan.json"

    model: ModelInfo
    objective: Literal["latency", "energy"]
    output_on: Literal["device", "server", "any"]
    keep_inputs: bool
    link: Link
    device: MachineInfo
    server: MachineInfo
    stages: tuple[PlanStage, ...]
    messages: tuple[PlanMessage, ...]
    parts: tuple[PlanPart, ...]
    estimates: tuple[Estimate, ...]
    chosen_by: Literal["solver", "user"]
    method: str
    max_server_visits: int | None
    value: float
    bound: float
    optimal: bool
    library_version: str
    runtime_version: str
    assumptions: tuple[str, ...]
    encoded_inputs: dict[str, int]
    source: "LayerGraph | Path"
    choices: tuple[PlanChoice, ...] = ()
    adapts_to: "ConditionRange | None" = None
    loss: PlanLoss | None = None

    @property
    def basis(self) -> "PlanBasis | None":
        """What it was chosen from, for `report` and `plot`; None for a plan that was loaded."""
        return getattr(self, "_basis", None)

    def with_basis(self, basis: "PlanBasis | None") -> "Plan":
        """Return the same plan with what it was chosen from."""
        plan = replace(self)
        if basis is not None:
            object.__setattr__(plan, "_basis", basis)
        return plan

    @property
    def latency_s(self) -> float:
        """Predicted latency of one inference, in seconds."""
        return self.estimates[0].latency_s

    @property
    def cut(self) -> tuple[str, ...]:
        """The tensors that go from the device to the server; empty if everything stays on the device.

        A tensor that both sides read may be among them, next to one made from it.
        """
        return self.estimates[0].cut

    @property
    def relative_gap(self) -> float:
        """How far the plan may be from the best one, relative to the bound; 0 if it is proven optimal."""
        if self.optimal:
            return 0.0
        return (self.value - self.bound) / abs(self.bound) if self.bound else float("inf")

    @property
    def sent_encoded_input(self) -> str | None:
        """An input that was priced as encoded and is sent, so that the plan runs with its codec alone, or None."""
        sent = {name for message in self.messages for name in message.tensors}
        return next((name for name in self.encoded_inputs if name in sent), None)

    @property
    def layers_on_device(self) -> frozenset[str]:
        """The layers that the device runs."""
        return frozenset(
            layer
            for stage in self.stages
            if stage.machine == "device"
            for number in stage.parts
            for layer in self.parts[number].layers
        )

    def __repr__(self) -> str:
        where = " -> ".join(self.parts[number].file for stage in self.stages for number in stage.parts)
        return f"<Plan of {self.model.name!r}: {where}, {self.latency_s * 1e3:.4g} ms>"

    def __str__(self) -> str:
        from partition.report.table import plan_text

        return plan_text(self)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``plan.json``."""
        from partition.plan_file import plan_to_json

        return plan_to_json(self)

    def save(
        self,
        folder: str | PathLike[str],
        *,
        overwrite: bool = False,
        link_weights: bool = False,
        hash_weights: bool = False,
        progress: "Callable[[float], None] | None" = None,
    ) -> "Plan":
        """Write the parts and ``plan.json`` into a new folder, or beside a model whose weights lie in other files.

        Parameters
        ----------
        folder : path
            Appears whole or not at all. If it is the model's own and the model has external data, the parts refer to
            that data where it is, and nothing is copied. Elsewhere each part gets a copy of the weights that it reads.
        overwrite : bool
            Replace a folder that holds an earlier plan, and nothing else; in the model's own, replace an earlier plan.
        link_weights : bool
            Hard links to the model's external data instead of copies: no space and no time, on the same disk alone.
            The package onnx refuses data with more than one link from then on, the original model's too; the runtime
            does not.
        hash_weights : bool
            Also store hashes of the contents of such files, which `load_plan` can check; they are read for it.
        progress : callable, optional
            Called with the share of the weights that is copied, 0 to 1.

        Returns
        -------
        Plan
            The same plan, now with sizes and hashes of its files, with the folder as its source.

        Raises
        ------
        InputError
            The folder exists, or cannot be written, or the runtime refuses a part.
        """
        from partition.saved import save_plan

        saved = save_plan(
            self,
            Path(folder),
            overwrite=overwrite,
            link_weights=link_weights,
            hash_weights=hash_weights,
            progress=progress,
        )
        return saved.with_basis(self.basis)

    @overload
    def session(
        self, *, codecs: "Mapping[str, InputCodec] | None" = None, threads: int | None = None
    ) -> "SplitSession": ...

    @overload
    def session(
        self,
        *,
        server: str,
        token: str | None = None,
        ca_file: str | None = None,
        options: "RemoteOptions | None" = None,
        codecs: "Mapping[str, InputCodec] | None" = None,
        threads: int | None = None,
    ) -> "RemoteSession": ...

    def session(
        self,
        *,
        server: str | None = None,
        token: str | None = None,
        ca_file: str | None = None,
        options: "RemoteOptions | None" = None,
        codecs: "Mapping[str, InputCodec] | None" = None,
        threads: int | None = None,
    ) -> "SplitSession | RemoteSession":
        """Open the parts: all in this process, or those of the server on that server.

        Parameters
        ----------
        server : str, optional
            URL of a server that serves this plan's folder, such as ``"https://server:8000"``: `dnn-partition serve`, or
            any other that speaks the KServe V2 protocol over HTTP. Without it all parts run here, one after the other.
        token : str, optional
            By which the server knows its users.
        ca_file : str, optional
            PEM file of the authorities that vouch for the server; the system's if not given.
        options : RemoteOptions, optional
            Time-outs, what the device holds, how the session adapts.
        codecs : mapping of str to InputCodec, optional
            Encoder and decoder of each input that was priced as encoded (`input_bytes`) and is sent. The server's parts
            run on what the decoder makes of it, wherever they run.
        threads : int, optional
            Of each runtime session here; the runtime's default if not given.

        Returns
        -------
        SplitSession or RemoteSession
            The latter with a server.

        Raises
        ------
        InputError
            The plan sends an input that was priced as encoded, and there is no codec for it. With a server: the plan
            was not saved.
        partition.remote.errors.RemoteError
            The server has other parts; or it does not answer, and the device does not hold all of them.
        """
        if server is None:
            if token is not None or ca_file is not None or options is not None:
                raise InputError("token, ca_file and options belong to a server; give its URL, or leave them out")
            from partition.runtime.session import open_session

            return open_session(self, threads=threads, codecs=codecs)
        from partition.remote.session import open_remote_session

        return open_remote_session(
            self, server, token=token, ca_file=ca_file, options=options, codecs=codecs, threads=threads
        )

    def explain_run(self, run: "RunRecord | RemoteSession | SplitSession") -> "RunExplanation":
        """Compare what a request took with what was predicted for it, stage by stage and message by message.

        Parameters
        ----------
        run : RunRecord, RemoteSession or SplitSession
            A record of a session with a server; or a session, whose last request is explained.

        Returns
        -------
        RunExplanation
            It prints itself as a table; `to_json` gives plain values.

        Raises
        ------
        InputError
            A session that has run nothing, or a request of another plan.
        """
        from partition.report.explanation import explain_run

        return explain_run(self, run)

    def verify(
        self,
        model: "ModelSource | None" = None,
        *,
        inputs: "Sequence[Mapping[str, NDArray[Any]]] | None" = None,
        seed: int = 0,
        tolerance: float | None = None,
        threads: int | None = None,
        timing: bool = False,
    ) -> "Verification":
        """Run the parts and the whole model on the same inputs and compare the outputs.

        Parameters
        ----------
        model : path or onnx.ModelProto, optional
            The whole model. Not needed for a plan that was just made, nor for a loaded one whose model has not moved.
        inputs : sequence of dict, optional
            Inputs to compare on; if not given, those that it was planned with and two variations, or three
            seeded random ones.
        seed : int
        tolerance : float
            Allowed maximum of |parts - whole| over the maximum of |whole|, for each output. Integers must be equal. If
            not given: 1e-5, or four units in the last place where the model computes in float16 or bfloat16; for an
            output that quantising operators lead to, one quantisation step; for a plan with codecs, what it says that
            they may lose. What is drawn at random is not compared.
        threads : int, optional
        timing : bool
            Also time each stage here, on the first input, and compare with what was predicted for it. That says how
            good the prediction is where this host is the machine that it was made for.

        Returns
        -------
        Verification
            ``ok`` says whether all outputs agree.

        Raises
        ------
        InputError
            All outputs are drawn at random; inputs that the model does not take; the model is missing or another.
        """
        from partition.runtime.verify import verify_plan

        return verify_plan(self, model, inputs=inputs, seed=seed, tolerance=tolerance, threads=threads, timing=timing)

    def report(
        self,
        path: str | PathLike[str],
        *,
        measured: "Sequence[RunRecord] | Sequence[StageTiming] | Verification | SplitSession | None" = None,
        overwrite: bool = False,
    ) -> Path:
        """Write one HTML file that shows why this cut was chosen: all figures of `plot`, with tables and words.

        Parameters
        ----------
        path : path
            The file holds everything that it shows, and runs no script.
        measured : sequence of RunRecord or of StageTiming, Verification or SplitSession, optional
            To set beside what was predicted: the records of a `RemoteSession`, what `verify` returned with
            ``timing=True`` or its stages, or a session of this process that has run.
        overwrite : bool
            Replace an existing file.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InputError
            The file exists or cannot be written; measurements of another plan, or none in them.

        Notes
        -----
        A plan that was loaded knows neither its model's layers nor what they cost: its report compares what the plan
        holds, and says what it cannot show.
        """
        from partition.report.page.document import write_report

        return write_report(self, Path(path), measured=measured, overwrite=overwrite)

    def plot(
        self,
        kind: FigureKind,
        path: str | PathLike[str] | None = None,
        *,
        measured: "Sequence[RunRecord] | Sequence[StageTiming] | Verification | SplitSession | None" = None,
        overwrite: bool = False,
    ) -> str:
        """Draw one figure of the report.

        Parameters
        ----------
        kind : {"candidates", "bandwidth", "energy", "graph", "measured"}
            Time on device, link and server for each candidate cut; latency against bandwidth; energy against latency;
            the layers by machine; predicted against measured times.
        path : path, optional
            A file to write: ``.svg``, or ``.png`` where the package resvg_py is installed (extra ``plot``).
        measured, overwrite
            As for `report`.

        Returns
        -------
        str
            The figure as SVG.

        Raises
        ------
        InputError
            This plan does not hold what the figure shows; another ending; the file exists or cannot be written.
        """
        from partition.report.page.files import plot

        return plot(self, kind, None if path is None else Path(path), measured=measured, overwrite=overwrite)
