"""A family of exits, from the earliest to the last: one model with several outputs, or several models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from partition.errors import InputError

if TYPE_CHECKING:
    from graph_io import Model, ModelSource

MOST_EXITS = 8
"""With n exits there are 2^n - 1 ways to use them, and each is a placement problem of its own."""

ModelsLike: TypeAlias = "ModelSource | Mapping[str, ModelSource] | ExitFamily"


@dataclass(frozen=True, slots=True)
class Way:
    """Which exits are decided on the device, in order, and which later one answers where none of them is confident."""

    device_exits: tuple[str, ...]
    final: str

    def __str__(self) -> str:
        return "+".join((*self.device_exits, self.final))


@dataclass(frozen=True, slots=True, eq=False)
class ExitModel:
    """One exit: its name, the output that is its answer, and the model that computes it."""

    name: str
    output: str
    model: "Model"

    def __repr__(self) -> str:
        return f"<ExitModel {self.name!r}: output {self.output!r} of {self.model.name!r}>"


@dataclass(frozen=True, slots=True, eq=False)
class ExitFamily:
    """Exits in order.

    Attributes
    ----------
    exits : tuple of ExitModel
    name : str
    joint : bool
        Whether they are outputs of one model, so that a later exit goes on where an earlier one stopped.
    """

    exits: tuple[ExitModel, ...]
    name: str
    joint: bool

    def __repr__(self) -> str:
        return f"<ExitFamily {self.name!r}: {', '.join(self.names)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The exits' names, in order."""
        return tuple(one.name for one in self.exits)

    def exit(self, name: str) -> ExitModel:
        """Return an exit by its name.

        Raises
        ------
        InputError
            There is none of that name.
        """
        found = next((one for one in self.exits if one.name == name), None)
        if found is None:
            raise InputError(f"exit '{name}' is not in '{self.name}'; its exits are {', '.join(self.names)}")
        return found

    def ways(self) -> Iterator[Way]:
        """Yield all ways to use the exits: by the final one, then by how many are decided on the device."""
        for number, final in enumerate(self.names):
            for count in range(number + 1):
                for chosen in combinations(self.names[:number], count):
                    yield Way(chosen, final)

    @classmethod
    def parse(cls, models: ModelsLike, exits: "Sequence[str] | Mapping[str, str] | None" = None) -> "ExitFamily":
        """Read a family of exits.

        Parameters
        ----------
        models : path, onnx.ModelProto, mapping or ExitFamily
            One model, whose outputs are the exits; or several by the names of their exits, from the earliest to the
            last.
        exits : sequence of str or mapping of str to str, optional
            Of one model the outputs, from the earliest to the last; all of them, in the model's order, if not given.
            Of several models the output that is the answer, by the exit's name; the first one where not given.

        Raises
        ------
        InputError, graph_io.ModelError
            No exit or more than eight; an output that the model does not have, or that no input reaches; an exit that
            needs nothing which earlier ones do not need; models that do not take the same inputs.
        """
        if isinstance(models, ExitFamily):
            if exits is not None:
                raise InputError("exits belong to reading the models; leave them out beside an ExitFamily")
            return models
        return _several(models, exits) if isinstance(models, Mapping) else _joint(models, exits)

    @classmethod
    def of_files(cls, paths: Sequence[Path], exits: Sequence[str] | None = None) -> "ExitFamily":
        """Read a family as a command gets it: one file, or several, whose exits are called as the files are.

        Parameters
        ----------
        paths : sequence of pathlib.Path
        exits : sequence of str, optional
            Of one file its outputs in order; of several ``"NAME=OUTPUT"``.

        Raises
        ------
        InputError, graph_io.ModelError
            See `parse`; two files of the same name.
        """
        from partition.arguments import pairs

        if len(paths) == 1:
            return cls.parse(paths[0], exits or None)
        named = {path.stem: path for path in paths}
        if len(named) < len(paths):
            raise InputError(f"two of the models are called the same: {', '.join(map(str, paths))}; rename one")
        return cls.parse(named, pairs(list(exits), "--exit") if exits else None)


def _joint(source: "ModelSource", exits: "Sequence[str] | Mapping[str, str] | None") -> ExitFamily:
    from graph_io import load_model

    if isinstance(exits, str | Mapping):
        raise InputError(f"exits is {exits!r}; of one model name its outputs in order, such as ['early', 'late']")
    model = load_model(source)
    outputs = [value.name for value in model.proto.graph.output]
    names = outputs if exits is None else list(exits)
    for name in names:
        _check_output(name, outputs, model.name)
    _check_count(names, "one")
    needed: set[str] = set()
    for number, name in enumerate(names):
        own = _needed_nodes(model, name)
        if own <= needed:
            raise InputError(
                f"exit '{name}' of '{model.name}' needs no layer that the earlier exits "
                f"({', '.join(names[:number])}) do not need; put it before them, or leave it out"
            )
        needed |= own
    return ExitFamily(tuple(ExitModel(name, name, model) for name in names), model.name, True)


def _several(sources: "Mapping[str, ModelSource]", exits: "Sequence[str] | Mapping[str, str] | None") -> ExitFamily:
    from graph_io import input_dtypes, load_model

    if exits is not None and not isinstance(exits, Mapping):
        raise InputError(f"exits is {exits!r}; of several models give a mapping of exits to their outputs")
    odd = next((name for name in sources if not isinstance(name, str) or not name.strip()), None)
    if odd is not None:
        raise InputError(f"an exit is named {odd!r}; give the models by names, such as {{'small': 'small.onnx'}}")
    _check_count(list(sources), "several")
    chosen: Mapping[str, str] = exits or {}
    unknown = next((name for name in chosen if name not in sources), None)
    if unknown is not None:
        raise InputError(f"exit '{unknown}' is no model of this family; its exits are {', '.join(sources)}")
    found: list[ExitModel] = []
    dtypes: dict[str, tuple[str, str]] = {}
    for name, source in sources.items():
        model = load_model(source)
        outputs = [value.name for value in model.proto.graph.output]
        output = chosen.get(name, outputs[0])
        _check_output(output, outputs, model.name)
        _needed_nodes(model, output)
        for one, dtype in input_dtypes(model).items():
            other, known = dtypes.setdefault(one, (name, dtype))
            if known != dtype:
                raise InputError(
                    f"input '{one}' is {known} for exit '{other}' and {dtype} for exit '{name}'; all models of a "
                    "family read the same inputs, so rename it in one of them"
                )
        found.append(ExitModel(name, output, model))
    return ExitFamily(tuple(found), "+".join(sources), False)


def _check_count(names: Sequence[str], kind: str) -> None:
    if not names:
        raise InputError(f"there is no exit; name {'an output' if kind == 'one' else 'at least one model'}")
    if len(names) > MOST_EXITS:
        raise InputError(
            f"{len(names)} exits are more than {MOST_EXITS}; with each one more there are twice as many ways to use "
            f"them, so name at most {MOST_EXITS}"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"exit '{twice}' is named more than once; name it once")


def _check_output(name: object, outputs: Sequence[str], model: str) -> None:
    if name not in outputs:
        raise InputError(f"exit {name!r} is not an output of model '{model}'; its outputs are {', '.join(outputs)}")


def _needed_nodes(model: "Model", output: str) -> frozenset[str]:
    from graph_io import needed_nodes

    needed = needed_nodes(model, output)
    if not needed:
        raise InputError(f"exit '{output}' of '{model.name}' does not depend on what a layer computes; leave it out")
    return needed
