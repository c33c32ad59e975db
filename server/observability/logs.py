"""Structured logs: one line per request, and its id in all related lines; no tokens, passwords or variables."""

import datetime as dt
import json
import logging
import re
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TextIO

import orjson
import structlog
from structlog.processors import ExceptionRenderer
from structlog.typing import EventDict, ExcInfo

log = structlog.get_logger("http")

current_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the current request, if there is one."""

GetTraceIds = Callable[[], dict[str, str]]
"""Returns the ids of the current trace and span, if there are any."""


def configure_logs(level: str, *, as_json: bool, get_trace_ids: GetTraceIds | None = None) -> None:
    """Configure structlog: JSON or text on standard error, from a level upwards."""
    processors: list[Any] = [
        *([lambda _, __, event: {**get_trace_ids(), **event}] if get_trace_ids else []),
        _add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
    ]
    renderers: list[Any] = (
        [ExceptionRenderer(_format_traceback), structlog.processors.JSONRenderer(_serialize)]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)]
    )
    structlog.configure(
        processors=[*processors, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def _add_request_id(_: Any, __: str, event: EventDict) -> EventDict:
    request_id = current_request_id.get()
    return event if request_id is None else {"request_id": request_id, **event}


def _serialize(event: EventDict, default: Callable[[Any], Any] = str) -> str:
    """Serialize to ASCII, so that input in paths or messages can neither end a line nor control a terminal."""
    try:
        text = orjson.dumps(event, default, JSON_OPTIONS)
    except orjson.JSONEncodeError:  # a lone surrogate, for example, in a traceback
        return json.dumps(event, default=default)
    return text.decode() if text.isascii() else json.dumps(event, default=default)


JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
"""Dataclasses are logged as their `repr`, which can hide fields."""

DETAIL_LINE = re.compile(r"^DETAIL: .*$", re.MULTILINE)
"""PostgreSQL quotes the whole offending row here."""


def _format_traceback(exc_info: ExcInfo) -> str:
    """Format a traceback without values of variables or rows, which can be passwords, tokens or addresses."""
    return DETAIL_LINE.sub("", "".join(traceback.format_exception(*exc_info)))


def _write_traceback(file: TextIO, exc_info: ExcInfo) -> None:
    file.write("\n" + _format_traceback(exc_info))


LogRequest = Callable[..., None]


def create_request_logger(level: str, *, as_json: bool, get_trace_ids: GetTraceIds | None = None) -> LogRequest:
    """Return a function that logs a request; for JSON it bypasses structlog, because every request pays for it."""
    if logging.getLevelNamesMapping()[level.upper()] > logging.INFO:
        return lambda **_: None
    if not as_json:
        return lambda **fields: log.info("request", **fields)
    return (
        _log_request_json if get_trace_ids is None else lambda **fields: _log_request_json(**get_trace_ids(), **fields)
    )


def _log_request_json(**fields: Any) -> None:
    now = dt.datetime.now(dt.UTC)
    line = {"event": "request", "level": "info", "timestamp": now, "request_id": current_request_id.get(), **fields}
    sys.stderr.write(_serialize(line) + "\n")
    sys.stderr.flush()
