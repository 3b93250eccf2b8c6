"""A network of machines as data: what each takes for an input of a length, and the links between them."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from partition.errors import InputError
from partition.files import FieldReader, is_text, read_json
from partition.latency.machines import Power
from partition.latency.timings import save_checked
from partition.links import Link
from partition.routing.length_models import LengthModel, read_length_model
from partition.routing.lengths_file import LengthTimings, load_lengths

if TYPE_CHECKING:
    import networkx

NETWORK_FORMAT = "dnn-partition/network"
NETWORK_VERSION = 1
MOST_MACHINES = 52
_MOST_ROUTES = 10_000


@dataclass(frozen=True, slots=True)
class RoutedMachine:
    """A machine that can run the model.

    Parameters
    ----------
    name : str
    latency : LengthModel
        Seconds of one run; its ratios are the noise that a simulation draws from.
    power : Power, optional
        What it draws; needed for the end node where energy counts.
    slowdown : float
        How many times as long as `latency` it takes, above 0: a load that is known and stays.

    Raises
    ------
    InputError
        One of them cannot be used.
    """

    name: str
    latency: LengthModel
    power: Power | None = None
    slowdown: float = 1.0

    def __post_init__(self) -> None:
        if not is_text(self.name):
            raise InputError(f"a machine has the name {self.name!r}; give a text that is not empty")
        if not isinstance(self.latency, LengthModel):
            raise InputError(f"machine {self.name!r}: latency is {self.latency!r}; give a LengthModel")
        if not all(math.isfinite(one) for one in self.latency.coefficients):
            raise InputError(
                f"machine {self.name!r}: the coefficients are {self.latency.coefficients!r}; give finite numbers"
            )
        if not self.latency.extended(self.latency.most) > 0:
            raise InputError(
                f"machine {self.name!r} takes no time for an input of length {self.latency.most}; measure it again"
            )
        if self.power is not None and not isinstance(self.power, Power):
            raise InputError(f"machine {self.name!r}: power is {self.power!r}; give a Power, or None")
        for what, watts in asdict(self.power).items() if self.power is not None else ():
            if not _is_number(watts) or watts < 0:
                raise InputError(f"machine {self.name!r}: {what} is {watts!r}; give a finite number of 0 or more")
        if not _is_number(self.slowdown) or self.slowdown <= 0:
            raise InputError(f"machine {self.name!r}: slowdown is {self.slowdown!r}; give a finite number above 0")

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """a, b and c of its seconds for an input, its slowdown included."""
        a, b, c = self.latency.coefficients
        return a * self.slowdown, b * self.slowdown, c * self.slowdown


@dataclass(frozen=True, slots=True)
class RoutedLink:
    """One direction of a link.

    Parameters
    ----------
    source, target : str
        Names of machines.
    bits_per_s : float
        Finite and above 0.
    delay_s : float
        Of one message, finite and 0 or more; a round trip pays the delays of both directions.

    Raises
    ------
    InputError
        One of them cannot be used.
    """

    source: str
    target: str
    bits_per_s: float
    delay_s: float

    def __post_init__(self) -> None:
        where = f"link from {self.source!r} to {self.target!r}"
        if not is_text(self.source) or not is_text(self.target) or self.source == self.target:
            raise InputError(f"{where}: give the names of two different machines")
        if not _is_number(self.bits_per_s) or self.bits_per_s <= 0 or not math.isfinite(8 / self.bits_per_s):
            raise InputError(f"{where}: bits_per_s is {self.bits_per_s!r}; give a finite number above 0")
        if not _is_number(self.delay_s) or self.delay_s < 0:
            raise InputError(f"{where}: delay_s is {self.delay_s!r}; give a finite number of 0 or more")


def both_ways(source: str, target: str, link: str | float | Link) -> tuple[RoutedLink, RoutedLink]:
    """Return both directions of a link as `partition.links.Link.parse` takes it; its uplink goes to `target`."""
    given = Link.parse(link)
    return (
        RoutedLink(source, target, given.uplink_bits_per_s, given.uplink_delay_s),
        RoutedLink(target, source, given.downlink_bits_per_s, given.downlink_delay_s),
    )


@dataclass(frozen=True, slots=True, repr=False)
class MachineNetwork:
    """Machines and links between them, of any topology.

    Parameters
    ----------
    machines : tuple of RoutedMachine
        1 to 52, each with a name of its own. Machines that no link reaches are legal; nothing is ever sent there.
    links : tuple of RoutedLink
        Each direction once, and both directions of each link.
    end_node : str
        The machine where inputs arise and results are wanted.
    input_bytes, output_bytes : LengthModel
        Size of the message that carries an input, and of the one that carries its result.

    Raises
    ------
    InputError
        One of them cannot be used.
    """

    machines: tuple[RoutedMachine, ...]
    links: tuple[RoutedLink, ...]
    end_node: str
    input_bytes: LengthModel
    output_bytes: LengthModel

    def __post_init__(self) -> None:
        if not all(isinstance(one, RoutedMachine) for one in self.machines):
            raise InputError("network: machines has to be a tuple of RoutedMachine")
        if not all(isinstance(one, RoutedLink) for one in self.links):
            raise InputError("network: links has to be a tuple of RoutedLink")
        names = self.names
        if not 1 <= len(names) <= MOST_MACHINES:
            raise InputError(f"a network of {len(names)} machines; give 1 to {MOST_MACHINES}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"two machines have the name {twice!r}; give each its own")
        self.place(self.end_node)
        ways = [(link.source, link.target) for link in self.links]
        for link in self.links:
            self.place(link.source)
            self.place(link.target)
            if ways.count((link.source, link.target)) > 1:
                raise InputError(f"the link from {link.source!r} to {link.target!r} is there twice; keep one")
            if (link.target, link.source) not in ways:
                raise InputError(
                    f"the link from {link.source!r} to {link.target!r} has no way back; add the other direction"
                )
        for what, sizes in (("input_bytes", self.input_bytes), ("output_bytes", self.output_bytes)):
            if not isinstance(sizes, LengthModel) or not all(map(math.isfinite, sizes.coefficients)):
                raise InputError(f"network: {what} is {sizes!r}; give a LengthModel with finite coefficients")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the machines."""
        return tuple(machine.name for machine in self.machines)

    def place(self, name: str) -> int:
        """Return a machine's place among the machines.

        Raises
        ------
        InputError
            No machine has this name.
        """
        for place, machine in enumerate(self.machines):
            if machine.name == name:
                return place
        raise InputError(f"no machine of the network has the name {name!r}; it has {', '.join(map(repr, self.names))}")

    def routes(self) -> tuple[tuple[int, ...], ...]:
        """Return all ways from the end node that pass no machine twice, as places; the first is to stay.

        Raises
        ------
        InputError
            There are more than 10,000.
        """
        near: dict[int, list[int]] = {place: [] for place in range(len(self.machines))}
        for link in self.links:
            near[self.place(link.source)].append(self.place(link.target))
        found: list[tuple[int, ...]] = [(self.place(self.end_node),)]
        # Grows while it is walked through: routes come in the order of their hops.
        for route in found:
            found.extend((*route, one) for one in sorted(near[route[-1]]) if one not in route)
            if len(found) > _MOST_ROUTES:
                raise InputError(
                    f"the network has more than {_MOST_ROUTES} routes from {self.end_node!r}, too many to go through; "
                    "leave links out, or use the policies 'routed' and 'routed-without-pings', which need no list"
                )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a network file, which needs no other files."""
        return {
            "format": NETWORK_FORMAT,
            "version": NETWORK_VERSION,
            "end_node": self.end_node,
            "input_bytes": self.input_bytes.to_json(),
            "output_bytes": self.output_bytes.to_json(),
            "machines": [
                {
                    "name": one.name,
                    "lengths": None,
                    "latency": one.latency.to_json(),
                    "slowdown": one.slowdown,
                    "power": None if one.power is None else asdict(one.power),
                }
                for one in self.machines
            ],
            "links": [asdict(one) for one in self.links],
        }

    @classmethod
    def from_json(cls, obj: Mapping[str, Any], source: str, *, folder: str | os.PathLike[str] = ".") -> Self:
        """Make a network from the content of a network file.

        Parameters
        ----------
        obj : mapping
            Each machine has either ``lengths``, the path of a lengths file, or ``latency``; the other one is null.
            ``input_bytes`` and ``output_bytes`` may be null where the end node has a lengths file.
        source : str
            Where it was read, for the messages.
        folder : path-like
            What the paths of lengths files are relative to.

        Returns
        -------
        MachineNetwork

        Raises
        ------
        InputError
            Another format or version; a field that is missing, unknown, of the wrong type or out of range; lengths
            files of different models or dimensions.
        """
        fields = FieldReader(obj, f"network file {source!r}")
        fields.header(NETWORK_FORMAT, NETWORK_VERSION)
        files: dict[str, LengthTimings] = {}
        machines = tuple(_read_machine(one, Path(folder), files) for one in fields.objects("machines"))
        end_node = fields.text("end_node")
        sizes = {}
        for what in ("input_bytes", "output_bytes"):
            given = fields.optional_object(what)
            if given is None and end_node not in files:
                fields.refuse(what, None, "a length model, as the end node has no lengths file")
            sizes[what] = getattr(files[end_node], what) if given is None else read_length_model(given)
        links = []
        for one in fields.objects("links"):
            links.append(
                RoutedLink(
                    one.text("source"), one.text("target"), one.positive("bits_per_s"), one.non_negative("delay_s")
                )
            )
            one.finish()
        fields.finish()
        _check_same_model(files, fields.source)
        try:
            return cls(machines, tuple(links), end_node, sizes["input_bytes"], sizes["output_bytes"])
        except InputError as error:
            raise InputError(f"{fields.source}: {error}") from error

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a network file, which `load_network` reads.

        Raises
        ------
        InputError
            The file exists and `overwrite` is not set, or it cannot be written.
        """
        save_checked(path, self.to_json(), type(self).from_json, "network file", overwrite=overwrite)

    def to_networkx(self) -> "networkx.DiGraph[str]":
        """Return a graph: machines with ``latency``, ``power`` and ``slowdown``, links with rate and delay."""
        import networkx

        graph: networkx.DiGraph[str] = networkx.DiGraph(
            end_node=self.end_node, input_bytes=self.input_bytes, output_bytes=self.output_bytes
        )
        for one in self.machines:
            graph.add_node(one.name, latency=one.latency, power=one.power, slowdown=one.slowdown)
        for link in self.links:
            graph.add_edge(link.source, link.target, bits_per_s=link.bits_per_s, delay_s=link.delay_s)
        return graph

    @classmethod
    def from_networkx(cls, graph: "networkx.Graph[str]") -> Self:
        """Make a network from a graph as `to_networkx` returns it; links of an undirected one go both ways.

        Raises
        ------
        InputError
            An attribute is missing or cannot be used.
        """
        directed = graph.to_directed()
        try:
            machines = tuple(
                RoutedMachine(name, data["latency"], data.get("power"), data.get("slowdown", 1.0))
                for name, data in directed.nodes(data=True)
            )
            links = tuple(
                RoutedLink(source, target, data["bits_per_s"], data["delay_s"])
                for source, target, data in directed.edges(data=True)
            )
            about = graph.graph
            return cls(machines, links, about["end_node"], about["input_bytes"], about["output_bytes"])
        except KeyError as error:
            raise InputError(
                f"the graph lacks the attribute {error.args[0]!r}; give the graph end_node, input_bytes and "
                "output_bytes, each node latency, and each edge bits_per_s and delay_s"
            ) from error

    def __repr__(self) -> str:
        return f"<MachineNetwork of {', '.join(self.names)}; inputs arise on {self.end_node!r}>"

    def __str__(self) -> str:
        lines = []
        for one in self.machines:
            a, b, c = (1e3 * value for value in one.coefficients)
            curve = f"{a:.4g} + {b:.4g} N{f' + {c:.4g} N^2' if c else ''} ms"
            lines.append(f"{one.name}: {curve}{' (end node)' if one.name == self.end_node else ''}")
        lines += [
            f"{one.source} -> {one.target}: {one.bits_per_s / 1e6:.6g} Mbit/s, delay {1e3 * one.delay_s:.6g} ms"
            for one in self.links
        ]
        return "\n".join(lines)


def load_network(path: str | os.PathLike[str]) -> MachineNetwork:
    """Read a network file; paths in it are relative to its folder.

    Raises
    ------
    InputError
        The file, or a lengths file that it names, cannot be read or is not of this version.
    """
    content = read_json(path, "network file")
    return MachineNetwork.from_json(content, os.fspath(path), folder=Path(path).parent)


def _read_machine(fields: FieldReader, folder: Path, files: dict[str, LengthTimings]) -> RoutedMachine:
    name, path, given = fields.text("name"), fields.optional_path("lengths"), fields.optional_object("latency")
    if (path is None) == (given is None):
        fields.refuse("lengths", path, "a path where the field 'latency' is null, and null where it is not")
    latency: LengthModel
    if path is not None:
        files[name] = load_lengths(folder / path)
        latency = files[name].latency
    else:
        latency = read_length_model(given)  # type: ignore[arg-type]
    slowdown, power = fields.positive("slowdown"), fields.optional_object("power")
    watts = None
    if power is not None:
        watts = Power(
            power.non_negative("compute_watts"),
            power.non_negative("idle_watts"),
            power.non_negative("send_watts"),
            power.non_negative("receive_watts"),
        )
        power.finish()
    fields.finish()
    return RoutedMachine(name, latency, watts, slowdown)


def _check_same_model(files: Mapping[str, LengthTimings], source: str) -> None:
    kinds: Sequence[tuple[str, tuple[str, str]]] = [
        (name, (one.model.structure_sha256, one.dim)) for name, one in files.items()
    ]
    for name, kind in kinds:
        if kind != kinds[0][1]:
            raise InputError(
                f"{source}: the lengths files of {kinds[0][0]!r} and {name!r} are of different models or dimensions; "
                "measure the same model on every machine"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
