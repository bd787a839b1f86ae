"""Logs as one JSON object a line: errors on standard error, access on standard output."""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec
from gunicorn.glogging import Logger


class JsonFormatter(logging.Formatter):
    """A record as JSON, with the traceback as one string."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{second}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "log": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configure(level: str) -> None:
    """Send to standard error what the package says, and what libraries and Python itself warn of."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(True)
    logging.getLogger("skfleet").setLevel(level.upper())


class JsonLogger(Logger):  # type: ignore[misc]
    """gunicorn's own messages in the same form; the application writes the access log itself."""

    def setup(self, cfg: Any) -> None:
        """Called at start and at each reload."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JsonFormatter())
