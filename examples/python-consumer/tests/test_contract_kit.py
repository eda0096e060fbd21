"""The contract kit: what can be seen of the wire contract from outside."""

import asyncio
import json
import os
from pathlib import Path

from .process import free_port
from .world import HERE, ROOT, World, needed, order_event

TABLE = """
create table earnings (
  order_id uuid primary key,
  user_id  uuid not null,
  points   bigint not null check (points <> 666)
)"""


async def test_keeps_the_wire_contract(world: World, tmp_path: Path) -> None:
    await world.sql(TABLE)  # The handler fails for one price.
    schemas: dict[str, object] = {}
    for document in (ROOT / "docs" / "reference" / "asyncapi.json", HERE / "asyncapi.json"):
        schemas |= json.loads(document.read_text())["components"]["schemas"]
    files = {
        "sample": order_event()["data"],
        "failing": order_event(price=666)["data"],
        "contract": {"components": {"schemas": schemas}},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    options = {
        "queue": "points.order.confirmed",
        **{name: str(tmp_path / f"{name}.json") for name in files},
        "effects-event": "points.earned.v1",
        "broker": world.admin_url,
        "management": needed("AMQP_MANAGEMENT_URL"),
        "start": "exec ./python.sh -m points",
        "load": "100",
        "timeout": "30",
    }
    kit = await asyncio.create_subprocess_exec(
        *("node", str(ROOT / "packages" / "testkit" / "src" / "cli.ts"), "check", "--json"),
        *(word for name, value in options.items() for word in (f"--{name}", value)),
        cwd=HERE,
        env={
            **os.environ,
            "AMQP_URL": world.url("points"),
            "DATABASE_URL": world.database_url,
            "ADMIN_PORT": str(free_port()),
            "RETRY_DELAYS": "200ms,400ms",
            "LOG_LEVEL": "warn",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await kit.communicate()
    assert kit.returncode == 0, output.decode() + errors.decode()
    verdicts = {each["check"]: each["verdict"] for each in json.loads(output)["checks"]}
    assert verdicts.pop("rpc") == "not checked"
    assert set(verdicts.values()) == {"kept"}
    assert len(verdicts) >= 12
