"""The environment of a service. A mistake stops the start, with one line for each."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from .topology import RetryDelay, parse_duration, parse_ladder

T = TypeVar("T")


class ConfigError(Exception):
    """The environment has mistakes: one line for each."""


@dataclass(frozen=True)
class Settings:
    amqp_url: str
    database_url: str
    retry_delays: tuple[RetryDelay, ...]
    producer_check: str
    operators: frozenset[str]
    inbox_retention: timedelta
    shutdown_grace: float
    listen_host: str
    admin_port: int
    log_level: str
    instance: str


def read_settings(environ: Mapping[str, str] = os.environ, *, admin_port: int) -> Settings:
    """Reads the variables that all services of Warren have. `NAME_FILE` names a file with the value.

    Raises `ConfigError`.
    """
    mistakes: list[str] = []

    def read(name: str, parse: Callable[[str], T], default: str | None = None) -> T:
        try:
            file = environ.get(f"{name}_FILE")
            text = Path(file).read_text().strip() if file else environ.get(name, default)
            if not text:
                raise ValueError("is required")
            return parse(text)
        except (ValueError, OSError) as error:
            mistakes.append(f"{name}: {error}")
            return None  # type: ignore[return-value]

    settings = Settings(
        amqp_url=read("AMQP_URL", _url("amqp", "amqps")),
        database_url=read("DATABASE_URL", _url("postgres", "postgresql")),
        retry_delays=read("RETRY_DELAYS", parse_ladder, "1s,10s,1m"),
        producer_check=read("PRODUCER_CHECK", _one_of("enforce", "report", "off"), "enforce"),
        operators=frozenset(filter(None, environ.get("OPERATORS", "").split(","))),
        inbox_retention=timedelta(seconds=read("INBOX_RETENTION", parse_duration, "30d") or 0),
        shutdown_grace=read("SHUTDOWN_GRACE", _seconds, "25"),
        listen_host=environ.get("LISTEN_HOST", "127.0.0.1"),
        admin_port=read("ADMIN_PORT", _port, str(admin_port)),
        log_level=read("LOG_LEVEL", _one_of("debug", "info", "warning", "warn", "error"), "info"),
        instance=environ.get("INSTANCE", socket.gethostname()),
    )
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return settings


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be a URL that begins with {schemes[0]}://")
        return text

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not '{text}'")
        return text

    return parse


def _seconds(text: str) -> float:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"must be a whole number of seconds, not '{text}'")
    return float(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"must be a port, not '{text}'")
    return int(text)
