"""Who published a message: the broker refuses a false `user-id`, so a `user-id` is proof."""

import logging
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

log = logging.getLogger(__name__)

SHARED_USER = "guest"
"""The user of all services on a local broker: it proves nothing."""


class Producers:
    """Derives the broker users of the other services from its own: `demo.points` → `demo.order`."""

    def __init__(
        self, service: str, amqp_url: str, check: str = "enforce", operators: Collection[str] = ()
    ) -> None:
        self.user = unquote(urlsplit(amqp_url).username or SHARED_USER)
        self._service = service
        self._operators = operators
        self._check = "off" if self.user == SHARED_USER else check
        if self._check != check:
            log.warning("every service may be the user 'guest': PRODUCER_CHECK is off")
        self._before, found, self._after = self.user.removesuffix(".next").rpartition(service)
        if not found and self._check != "off":
            raise ValueError(f"AMQP_URL: the user '{self.user}' must contain the service's name '{service}'")

    def refuse(self, user_id: str | None, producer: str) -> str | None:
        """Why a message that claims to be of `producer` is refused; None if it may be handled.

        This service's own user is accepted, too: it publishes the retries.
        """
        if self._check == "off" or user_id in self._operators:
            return None
        expected = {f"{self._before}{name}{self._after}" for name in (producer, self._service)}
        if user_id is not None and user_id.removesuffix(".next") in expected:
            return None
        by = "without a user-id" if user_id is None else f"by the user '{user_id}'"
        reason = f"the message was published {by}; expected {' or '.join(sorted(expected))}"
        log.warning("forged message", extra={"code": "forged", "reason": reason})
        return reason if self._check == "enforce" else None
