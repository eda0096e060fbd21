"""Starts the service: `python -m points`."""

import asyncio
import sys
from importlib.resources import files

from warren_wire import ConfigError, Service, Subscription, read_settings, run, set_up_log

from . import __version__
from .contracts import ORDER_CONFIRMED
from .points import earn

SERVICE = Service(
    name="points",
    version=__version__,
    subscriptions=[Subscription(ORDER_CONFIRMED, earn)],
    schema=files("points").joinpath("schema.sql").read_text(),
)


def main() -> int:
    try:
        settings = read_settings(admin_port=9020)
        set_up_log(settings.log_level)
        return asyncio.run(run(SERVICE, settings))
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
