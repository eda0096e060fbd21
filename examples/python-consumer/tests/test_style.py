"""The code itself: types, lint and format."""

import subprocess
import sys

import pytest

from .world import HERE


@pytest.mark.parametrize("command", ["mypy", "ruff check", "ruff format --check"])
def test_passes(command: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=HERE, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
