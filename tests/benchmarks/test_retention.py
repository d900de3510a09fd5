"""The script that shows that memory is flat runs, and says so where it is not."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it asks Linux for the memory of a process")


@pytest.fixture
def retention(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("retention")


def test_a_small_run_keeps_its_budget_and_is_written_as_figures_and_a_plot(tmp_path):
    events = 2000
    command = [sys.executable, str(BENCHMARKS / "retention.py"), f"--events={events}", f"--output={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ("BROKEN" in done.stdout), done.stderr
    figures = json.loads((tmp_path / "retention.json").read_text())
    for name in ("memory", "sqlite"):
        samples = figures[name]["samples"]
        assert samples["sent"][-1] >= events
        # The budget is less than what is sent, so some was trimmed.
        assert 0 < max(samples["kept"]) <= events * 8
        assert samples["kept_events"][-1] < events / 4
        assert figures[name]["outcomes"]["gaps"] > 0
        assert f"Kept: {name}: the log keeps 16,000 bytes at most" in done.stdout
    assert max(figures["sqlite"]["samples"]["files"]) > 16_000
    plot = ET.parse(tmp_path / "retention.svg")
    assert len(list(plot.iter("{http://www.w3.org/2000/svg}polyline"))) == 7


@pytest.mark.parametrize(("last", "kept", "flat"), [(1040, 80, True), (1060, 80, False), (1000, 81, False)])
def test_what_grows_and_what_is_more_than_the_budget_is_not_flat(retention, last, kept, flat):
    resident = [1000] * 50 + [last] * 50
    samples = [retention.Sample(number, each, 10, kept, 5, 5, 0) for number, each in enumerate(resident, 1)]
    # The budget of 10 events is 80 bytes.
    assert retention.report("memory", samples, retention.Outcomes(), 10)[0] is flat
