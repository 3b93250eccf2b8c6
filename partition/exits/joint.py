"""A policy measured as a whole, codecs of its rest included, on the inputs that its exits were measured on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from partition.errors import InputError
from partition.exits.family import ExitFamily
from partition.exits.policy import ExitPolicy
from partition.exits.table import ExitTable

if TYPE_CHECKING:
    from numpy.typing import NDArray


def measured_accuracy(
    family: ExitFamily, table: ExitTable, policy: ExitPolicy, *, dims: Mapping[str, int] | None = None
) -> float | str:
    """Run a policy on the data of its table and return the mean score, or why it cannot be run here.

    Parameters
    ----------
    family : ExitFamily
    table : ExitTable
    policy : ExitPolicy
    dims : mapping of str to int, optional

    Returns
    -------
    float or str
        A reason where the data has gone or is another, where an input travels encoded, or where the score cannot be
        computed here.
    """
    from partition.exits.score import find_score, score_by

    if policy.plan.sent_encoded_input is not None:
        return f"input '{policy.plan.sent_encoded_input}' travels encoded"
    try:
        function = table.score_function or find_score(table.score)[1]
        found = _data(family, table, dims)
    except InputError as error:
        return str(error)
    if isinstance(found, str):
        return found
    total = 0.0
    output_of = {one.name: one.output for one in family.exits}
    with policy.session(threads=1) as session:
        wanted = policy.input_names
        for inputs, label in zip(*found, strict=True):
            result = session.run({name: inputs[name] for name in wanted})
            total += score_by(function, table.score, {output_of[result.exit]: result.output}, label)
    return total / len(found[1])


def _data(
    family: ExitFamily, table: ExitTable, dims: Mapping[str, int] | None
) -> "tuple[Sequence[Mapping[str, NDArray[Any]]], Sequence[Any]] | str":
    from partition.exits.data import find_labelled

    if table.inputs:
        return table.inputs, table.labels
    data = table.data
    if data is None or data.folder is None or table.label_name is None:
        return "the exits were measured on inputs that were in memory alone"
    rows = find_labelled(family, data.folder, labels=table.label_name, dims=dims, limit=data.n_inputs)
    if rows.source.sha256 != data.sha256:
        return f"the inputs in '{data.folder}' are not those that the exits were measured on"
    return rows.inputs, rows.labels
