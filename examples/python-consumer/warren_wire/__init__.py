"""Warren's wire contract for a Python service: see docs/how-to/speak-warren.md."""

from .config import ConfigError, Settings, read_settings
from .consumer import Work
from .contract import ContractError, EventType
from .envelope import Event
from .log import set_up as set_up_log
from .service import Service, Subscription, run

__all__ = [
    "ConfigError",
    "ContractError",
    "Event",
    "EventType",
    "Service",
    "Settings",
    "Subscription",
    "Work",
    "read_settings",
    "run",
    "set_up_log",
]
