"""What ``dnn-partition run --json`` printed, read back: the requests of a session, or the timings of a verification."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from partition.adaptation.conditions import Conditions
from partition.errors import InputError
from partition.files import FieldReader, read_json
from partition.plan_records import Role
from partition.remote.records import CompressionRecord, RunRecord, StageRecord, VisitRecord
from partition.runtime.timing import StageTiming


def read_run(path: Path) -> Sequence[RunRecord] | Sequence[StageTiming]:
    """Read the measurements of a run.

    Raises
    ------
    InputError
        The file cannot be read, holds something else, or a run in which nothing was timed.
    """
    source = f"run '{path}'"
    content = read_json(path, "run")
    if "requests" in content:
        return [_record(one) for one in FieldReader(content, source).objects("requests")]
    verification = content.get("verification")
    if isinstance(verification, dict) and verification.get("stages"):
        return [_timing(one) for one in FieldReader(verification, source, "verification.").objects("stages")]
    raise InputError(
        f"{source} holds no timed stages; write it with `dnn-partition run OUT --server URL --json`, or with "
        "`dnn-partition run OUT --verify --timing --json`"
    )


def _record(fields: FieldReader) -> RunRecord:
    conditions = fields.object("conditions")
    return RunRecord(
        number=fields.whole("number"),
        started_s=fields.real("started_s"),
        choice=fields.whole("choice"),
        cut=fields.texts("cut"),
        conditions=Conditions(
            conditions.positive("uplink_bits_per_s"),
            conditions.positive("downlink_bits_per_s"),
            conditions.non_negative("rtt_s"),
            conditions.positive("device_slowdown"),
            conditions.positive("server_slowdown"),
        ),
        predicted_s=fields.non_negative("predicted_s"),
        taken_s=fields.non_negative("taken_s"),
        stages=tuple(
            StageRecord(
                _role(one, "machine"),
                _role(one, "ran_on"),
                one.wholes("parts"),
                one.non_negative("predicted_s"),
                one.optional_non_negative("taken_s"),
            )
            for one in fields.objects("stages")
        ),
        visits=tuple(_visit(one) for one in fields.objects("visits")),
        not_asked=fields.optional_text("not_asked") if "not_asked" in fields.names() else None,
    )


def _visit(fields: FieldReader) -> VisitRecord:
    legs = [
        fields.optional_non_negative(name) if name in fields.names() else None
        for name in ("predicted_uplink_s", "predicted_downlink_s", "uplink_s", "downlink_s")
    ]
    return VisitRecord(
        predicted_s=fields.non_negative("predicted_s"),
        taken_s=fields.real("taken_s"),
        queue_s=fields.optional_non_negative("queue_s"),
        sent_bytes=fields.whole("sent_bytes"),
        received_bytes=fields.whole("received_bytes"),
        fault=fields.optional_text("fault"),
        predicted_uplink_s=legs[0],
        predicted_downlink_s=legs[1],
        uplink_s=legs[2],
        downlink_s=legs[3],
        compression=_compression(fields),
    )


def _compression(fields: FieldReader) -> CompressionRecord | None:
    one = fields.optional_object("compression") if "compression" in fields.names() else None
    if one is None:
        return None
    return CompressionRecord(
        one.whole("plain_sent_bytes"),
        one.whole("plain_received_bytes"),
        one.non_negative("predicted_s"),
        one.non_negative("device_s"),
        one.non_negative("server_s"),
        one.optional_text("remark"),
    )


def _timing(fields: FieldReader) -> StageTiming:
    return StageTiming(
        stage=fields.whole("stage"),
        machine=_role(fields, "machine"),
        predicted_s=fields.non_negative("predicted_s"),
        measured_s=fields.positive("measured_s"),
        spread_s=fields.non_negative("spread_s"),
        runs=fields.count("runs"),
        threads=fields.optional_count("threads"),
    )


def _role(fields: FieldReader, name: str) -> Role:
    value: Any = fields.take(name)
    if value not in ("device", "server"):
        fields.refuse(name, value, "'device' or 'server'")
    role: Role = value
    return role
