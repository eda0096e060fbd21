"""Leaves the totals for scripts/test.ts, which prints those of all suites."""

import json
import os
from pathlib import Path

import pytest


class Totals:
    def __init__(self) -> None:
        self._reports: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A test is one report; so is what fails before or after it.
        if report.when == "call" or report.outcome != "passed":
            self._reports.append(report)

    def pytest_sessionfinish(self) -> None:
        def of(outcome: str) -> list[pytest.TestReport]:
            return [report for report in self._reports if report.outcome == outcome]

        totals = {
            "passes": len(of("passed")),
            "failures": len(of("failed")),
            "pending": len(of("skipped")),
            "failed": [report.nodeid for report in of("failed")],
            "times": [
                {"title": each.nodeid, "ms": each.duration * 1000, "busy": 0} for each in self._reports
            ],
        }
        Path(os.environ["WARREN_TEST_TOTALS"]).write_text(json.dumps(totals))


def pytest_configure(config: pytest.Config) -> None:
    if "WARREN_TEST_TOTALS" in os.environ:
        config.pluginmanager.register(Totals())
