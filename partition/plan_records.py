"""What a plan is made of: the model, machines, parts, stages, messages, placements and estimates, as plain records."""

from dataclasses import dataclass, field
from typing import Literal

from graph_io.codecs import LOSSLESS, carried_names

Role = Literal["device", "server"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that was planned.

    Attributes
    ----------
    name, path : str, str or None
        File name without its ending, and the path that it was read from.
    structure_sha256 : str
        Hash of the graph without the contents of its large weights.
    granularity : str
        "layer" or "node".
    dims : dict of str to int
        Values that the user gave to symbolic dimensions.
    n_layers : int
    inputs, outputs : tuple of TensorInfo
        As planned; a model may accept other sizes on the dimensions that it leaves open.
    """

    name: str
    path: str | None
    structure_sha256: str
    granularity: str
    dims: dict[str, int] = field(hash=False)
    n_layers: int
    inputs: "tuple[TensorInfo, ...]"
    outputs: "tuple[TensorInfo, ...]"

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(tensor.name for tensor in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(tensor.name for tensor in self.outputs)


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """One machine of a plan: name, kind of its file, a line on where its figures come from, threads of its runtime."""

    name: str
    kind: str
    description: str
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor at the edge of a part or of the model; the size is that of the planned shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file that holds weights of a saved part.

    Attributes
    ----------
    file : str
        Its path relative to the plan's folder, in which it lies.
    size_bytes : int
        Of the whole file.
    own : bool
        Whether it was written with the plan; if not, it belongs to the model that lies beside the plan.
    sha256 : str or None
        Of its contents, if that was asked for when the plan was saved.
    """

    file: str
    size_bytes: int
    own: bool
    sha256: str | None


@dataclass(frozen=True, slots=True)
class PlanPart:
    """One submodel of a plan.

    Attributes
    ----------
    file : str
        Its name in the plan's folder.
    layers : tuple of str
    inputs, outputs : tuple of TensorInfo
    weight_bytes : int
    memory_bytes : int
        An estimate: weights and the peak of live activations, in topological order.
    file_bytes : int or None
        None until it is saved.
    sha256 : str or None
        Of the file, which names place and length of all weights that lie elsewhere; None until it is saved.
    weights_files : tuple of WeightsFile
        Where the weights lie that are not in the part's own file.
    """

    file: str
    layers: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    weight_bytes: int
    memory_bytes: int
    file_bytes: int | None = None
    sha256: str | None = None
    weights_files: tuple[WeightsFile, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanStage:
    """What one machine runs between two messages: the numbers of its parts (none if it only passes data on).

    Attributes
    ----------
    machine : {"device", "server"}
    parts : tuple of int
    n_layers : int
    compute_s : float
    """

    machine: Role
    parts: tuple[int, ...]
    n_layers: int
    compute_s: float


@dataclass(frozen=True, slots=True)
class PlanMessage:
    """What travels between two stages; bytes as priced on the wire.

    Attributes
    ----------
    after_stage : int
    direction : {"uplink", "downlink"}
    tensors : tuple of str
    size_bytes : int
    transfer_s, delay_s : float
    codecs : tuple of str
        Those of the tensors, "none" for one that crosses as it is; empty in a plan without codecs.
    raw_bytes : int or None
        What all of the tensors would take without codecs; None in a plan without.
    """

    after_stage: int
    direction: Literal["uplink", "downlink"]
    tensors: tuple[str, ...]
    size_bytes: int
    transfer_s: float
    delay_s: float
    codecs: tuple[str, ...] = ()
    raw_bytes: int | None = None

    @property
    def coded(self) -> dict[str, str]:
        """The tensors that do not cross as they are, each with its codec."""
        pairs = zip(self.tensors, self.codecs, strict=bool(self.codecs))
        return {tensor: codec for tensor, codec in pairs if codec != LOSSLESS}

    @property
    def carried(self) -> tuple[str, ...]:
        """Names of what crosses: a codec sends several tensors in place of one."""
        coded = self.coded
        return tuple(one for name in self.tensors for one in carried_names(name, coded.get(name, LOSSLESS)))


@dataclass(frozen=True, slots=True)
class PlanLoss:
    """What the codecs of a plan cost in precision.

    Attributes
    ----------
    metric : str
        Name of the measure.
    max_loss : float
        The bound that was given.
    loss : float
        Of this plan, by that measure.
    output_error : float
        Of this plan: the largest error of an output over the output's largest value.
    measured : bool
        Whether both were measured with all codecs of this plan at once; if not, they are the sums of what each was
        measured to lose alone.
    n_inputs : int
        How many inputs they were measured on.
    data : str
        Where these come from.
    """

    metric: str
    max_loss: float
    loss: float
    output_error: float
    measured: bool
    n_inputs: int
    data: str


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """One placement of the parts that a plan switches between; priced on the link that was planned for.

    Attributes
    ----------
    stages : tuple of PlanStage
        In the order of time; stage 0 is the device's.
    messages : tuple of PlanMessage
        One between each two stages.
    """

    stages: tuple[PlanStage, ...]
    messages: tuple[PlanMessage, ...]

    @property
    def latency_s(self) -> float:
        """Predicted latency under the conditions that were planned for, in seconds."""
        sent_s = sum(message.transfer_s + message.delay_s for message in self.messages)
        return sum(stage.compute_s for stage in self.stages) + sent_s

    @property
    def cut(self) -> tuple[str, ...]:
        """The tensors that go up; empty if none does."""
        return tuple(name for one in self.messages if one.direction == "uplink" for name in one.tensors)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The predicted cost of one placement, by leg; the delays are in the legs of the link.

    Attributes
    ----------
    name : str
        "this plan", "all on the device", "all on the server" or "the optimum".
    cut : tuple of str
        Tensors that go up; empty if none does.
    device_s, uplink_s, server_s, downlink_s : float
    uplink_bytes, downlink_bytes : int
    device_memory_bytes, server_memory_bytes : int
        Weights and the peak of live activations there, an estimate.
    objective_value : float
        In the unit of the plan's objective.
    deviation_s : float or None
        Standard deviation of the error of computing: two thirds of such predictions come true within it. None where the
        machines' files do not tell, as a datasheet does not.
    """

    name: str
    cut: tuple[str, ...]
    device_s: float
    uplink_s: float
    server_s: float
    downlink_s: float
    uplink_bytes: int
    downlink_bytes: int
    device_memory_bytes: int
    server_memory_bytes: int
    objective_value: float
    deviation_s: float | None = None

    @property
    def latency_s(self) -> float:
        """The sum of the legs."""
        return self.device_s + self.uplink_s + self.server_s + self.downlink_s
