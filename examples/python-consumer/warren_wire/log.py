"""The log: a JSON object a line. A line says what happened; its fields say to what."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

_STANDARD = set(vars(logging.makeLogRecord({})))


class JsonFormatter(logging.Formatter):
    """Writes what is given as `extra`, too; an exception as `err`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        error = fields.pop("err", None) or (record.exc_info[1] if record.exc_info else None)
        if isinstance(error, BaseException):
            stack = "".join(traceback.format_exception(error))
            fields["err"] = {"type": type(error).__name__, "message": str(error), "stack": stack}
        level = record.levelname.lower().replace("warning", "warn")
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"level": level, "time": time, **fields, "msg": record.getMessage()}, default=str)


def set_up(level: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # They report each attempt to reconnect, with stacks; connection.py reports an outage once.
    for name in ("aio_pika", "aiormq", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
