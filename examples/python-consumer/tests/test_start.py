"""How the service starts, and what it is generated from."""

import subprocess
import sys

from .world import HERE


def run_points(**env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "points"]
    return subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_names_each_mistake_of_its_environment() -> None:
    ended = run_points(AMQP_URL="localhost", RETRY_DELAYS="1s,soon", ADMIN_PORT="70000")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "AMQP_URL: must be a URL that begins with amqp://",
        "DATABASE_URL: is required",
        "RETRY_DELAYS: 'soon' is not a duration such as 10s",
        "ADMIN_PORT: must be a port, not '70000'",
    ]


def test_does_not_start_with_a_user_that_does_not_contain_its_name() -> None:
    ended = run_points(AMQP_URL="amqp://shop:x@localhost", DATABASE_URL="postgres://localhost/points")
    assert ended.returncode == 2
    assert "the user 'shop' must contain the service's name 'points'" in ended.stderr


def test_its_contracts_are_those_of_the_asyncapi_documents() -> None:
    check = [sys.executable, "generate.py", "--check"]
    ended = subprocess.run(check, cwd=HERE, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
