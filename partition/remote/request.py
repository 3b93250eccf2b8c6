"""One inference under way."""

import time
from dataclasses import dataclass, field
from typing import Any

from partition.adaptation.conditions import Conditions
from partition.remote.records import RunRecord, StageRecord, VisitRecord
from partition.remote.routes import Route, RouteStage


@dataclass(slots=True)
class Request:
    """One inference under way."""

    route: Route
    number: int
    now: Conditions
    predicted_s: float
    started_s: float
    begun_s: float
    values: dict[str, Any]
    asked: RouteStage | None
    parts_sha256: str
    encoded: dict[str, bytes] = field(default_factory=dict)
    """Inputs as they travel; kept so that the device finishes with what the server would have seen."""
    encode_s: float = 0.0
    """What encoding took, until the record of the stage that it was for has it."""
    stages: list[StageRecord] = field(default_factory=list)
    visits: list[VisitRecord] = field(default_factory=list)
    not_asked: str | None = None
    """Why the server was not asked for what it was to do."""

    @property
    def failed(self) -> bool:
        """Whether the server did not answer a stage of it."""
        return any(visit.fault is not None for visit in self.visits)

    @property
    def asked_inputs(self) -> frozenset[str]:
        """Tensors that are kept to try a stage of another placement in the background."""
        return frozenset() if self.asked is None else frozenset(self.asked.sent)

    def encoded_for(self, stage: RouteStage) -> dict[str, bytes]:
        """Return those inputs of a server's stage that travel encoded."""
        return {name: self.encoded[name] for name in stage.sent if name in self.encoded}

    def record(self, number: int) -> RunRecord:
        """Return what happened, at its end."""
        taken_s = time.perf_counter() - self.begun_s
        return RunRecord(
            number,
            self.started_s,
            self.number,
            self.route.choice.cut,
            self.now,
            self.predicted_s,
            taken_s,
            tuple(self.stages),
            tuple(self.visits),
            self.parts_sha256,
            self.not_asked,
        )
