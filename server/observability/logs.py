"""Structured logs: one line a request, and its id in all others that are written for it. Never a token, a password or what was asked for."""

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
"""The request that is being answered, if it is one."""

GetTraceIds = Callable[[], dict[str, str]]
"""Tells the ids of what is traced just now, if anything is."""


def configure_logs(level: str, *, as_json: bool, get_trace_ids: GetTraceIds | None = None) -> None:
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
    """In ASCII: what clients put into a path or a message must not look like a line's end, nor move a terminal."""
    try:
        text = orjson.dumps(event, default, JSON_OPTIONS)
    except orjson.JSONEncodeError:  # half a character, say, in what a traceback tells
        return json.dumps(event, default=default)
    return text.decode() if text.isascii() else json.dumps(event, default=default)


JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
"""A dataclass is told as its `repr`, which may keep fields to itself."""

DETAIL_LINE = re.compile(r"^DETAIL: .*$", re.MULTILINE)
"""PostgreSQL says here which row did not fit, with all that is in it."""


def _format_traceback(exc_info: ExcInfo) -> str:
    """The traceback without the values of variables or rows, which hold passwords, tokens and addresses."""
    return DETAIL_LINE.sub("", "".join(traceback.format_exception(*exc_info)))


def _write_traceback(file: TextIO, exc_info: ExcInfo) -> None:
    file.write("\n" + _format_traceback(exc_info))


LogRequest = Callable[..., None]


def create_request_logger(level: str, *, as_json: bool, get_trace_ids: GetTraceIds | None = None) -> LogRequest:
    """What writes the line of a request: one as all others, but there are so many that in JSON they have a shorter way."""
    if logging.getLevelNamesMapping()[level.upper()] > logging.INFO:
        return lambda **_: None
    if not as_json:
        return lambda **told: log.info("request", **told)
    return _log_request_json if get_trace_ids is None else lambda **told: _log_request_json(**get_trace_ids(), **told)


def _log_request_json(**fields: Any) -> None:
    now = dt.datetime.now(dt.UTC)
    line = {"event": "request", "level": "info", "timestamp": now, "request_id": current_request_id.get(), **fields}
    sys.stderr.write(_serialize(line) + "\n")
    sys.stderr.flush()
