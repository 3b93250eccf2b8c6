"""Logs of a server: one JSON object a line, by the standard logger ``partition.serve``."""

import json
import logging
import sys
import time

LOGGER = logging.getLogger("partition.serve")
"""At level info one line for each request; at warning and above what an operator has to know."""


class JsonLines(logging.Formatter):
    """Writes a record, and what was passed as ``extra={"fields": {...}}``, as one line of ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        content = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        content |= getattr(record, "fields", {})
        if record.exc_info:
            content["error"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


def log_to_stderr(level: str) -> None:
    """Write what is at a level or above to stderr.

    Parameters
    ----------
    level : {"info", "warning", "error"}
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
