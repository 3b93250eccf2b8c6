"""The report of a policy of exits: its sentence, the trade-off curve, and the figures of the plan of its rest."""

from dataclasses import replace
from pathlib import Path

from partition.exits.figure import tradeoff_figure
from partition.exits.policy import ExitPolicy
from partition.exits.view import accuracy_text, percent, sentence
from partition.report.page.document import facts, footer
from partition.report.page.evidence import Study
from partition.report.page.figure import Figure, Missing
from partition.report.page.figures import KINDS, figure_of
from partition.report.page.files import check_figure_file, check_new, write_figure, write_file
from partition.report.page.frame import page
from partition.units import format_duration


def write_policy_report(policy: ExitPolicy, path: Path, *, overwrite: bool = False) -> Path:
    """Write the report of a policy; parameters and errors as of `ExitPolicy.report`."""
    check_new(path, "report", overwrite=overwrite)
    write_file(path, policy_html(policy).encode(), "report")
    return path


def plot_tradeoff(policy: ExitPolicy, path: Path | None, *, overwrite: bool = False) -> str:
    """Draw the trade-off curve and write it, if a path is given; parameters and errors as of `ExitPolicy.plot`."""
    check_figure_file(path, overwrite=overwrite)
    return write_figure(tradeoff_figure(policy), path)


def policy_html(policy: ExitPolicy) -> str:
    """Return the report as one HTML document."""
    study = Study(policy.plan)
    # Of a policy a run measures no stages, so nothing is set beside those that were predicted.
    of_rest = [figure_of(study, kind) for kind in KINDS if kind != "measured"]
    return page(
        policy.name,
        sentence(policy),
        [*_facts(policy), *_facts_of_rest(policy)],
        [tradeoff_figure(policy), *(_of_rest(one) if policy.heads else one for one in of_rest)],
        (*policy.assumptions, *policy.plan.assumptions),
        footer(policy.plan),
        what="Exits",
    )


def _facts_of_rest(policy: ExitPolicy) -> list[tuple[str, str]]:
    found = facts(policy.plan)
    if not policy.heads:
        return found
    return [(name if name == "Link" else f"{name}, for the rest", value) for name, value in found]


def _of_rest(figure: Figure | Missing) -> Figure | Missing:
    return replace(figure, title=f"The rest: {figure.title[:1].lower()}{figure.title[1:]}")


def _facts(policy: ExitPolicy) -> list[tuple[str, str]]:
    slowest = f"{format_duration(policy.slowest_latency_s)} for the slowest way"
    if policy.deadline_s is not None:
        slowest += f", deadline {format_duration(policy.deadline_s)}"
    found = [
        ("Latency, expected", f"{format_duration(policy.expected_latency_s)}; {slowest}"),
        ("Accuracy", accuracy_text(policy)),
    ]
    if policy.heads:
        answered = ", ".join(
            f"{exit_} {percent(share)}"
            for exit_, share in zip((*policy.device_exits, policy.final), policy.shares, strict=True)
        )
        found.append(("Answered by", answered))
    return found
