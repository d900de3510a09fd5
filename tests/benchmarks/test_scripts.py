"""The scripts that compare servers run, and their results are what they say. Figures are looked at by people."""

from __future__ import annotations

import csv
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they ask Linux what a process took")


def run(script: str, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), "--rounds=1", "--seconds=0.05", f"--output={output}", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("_load")
    for name in [name for name in sys.modules if name.startswith("_") and _is_of_benchmarks(name)]:
        del sys.modules[name]


def _is_of_benchmarks(name: str) -> bool:
    return Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS


def test_calls_are_measured_and_written_as_figures_a_table_and_a_plot(tmp_path):
    done = run("calls.py", tmp_path, "--only=fixed", "--kinds=handshake")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "calls.json").read_text())
    [measured] = figures["measured"]["handshake"]["fixed"]
    assert measured["operations"] > 0
    assert 0 < measured["cpu"] <= measured["wall"] * 1.5
    assert 0 < measured["p50"] <= measured["p99"]
    header, row = rows(tmp_path / "calls-handshake.csv")
    assert len(header) == len(row)
    assert row[0].startswith("floor: fixed answer")
    assert row[0] in done.stdout
    plot = ET.parse(tmp_path / "calls-handshake.svg")
    assert row[0] in {text.text for text in plot.iter("{http://www.w3.org/2000/svg}text")}


def test_sessions_of_streamscope_are_measured_and_what_is_not_kept_is_said(tmp_path):
    done = run("calls.py", tmp_path, "--only=streamscope", "--kinds=sessions")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "calls-sessions.csv")[1][:3:2] == ["streamscope", "1.00"]


def test_scaling_has_a_column_for_each_number(tmp_path):
    done = run("scaling.py", tmp_path, "--only=streamscope", "--connections=1,3", "--idle=0,10")
    assert done.returncode in {0, 1}, done.stderr
    assert rows(tmp_path / "scaling-connections.csv")[0][1:3] == ["1", "3"]
    assert rows(tmp_path / "scaling-idle.csv")[0][1:3] == ["0", "10"]
    [connections, idle] = rows(tmp_path / "scaling-promises.csv")[1:]
    assert done.returncode == ([connections[-1], idle[-1]] != ["kept", "kept"])


def test_what_clients_are_told_is_measured_for_each_way_of_telling_them(tmp_path):
    done = run("streams.py", tmp_path, "--only=streamscope", "--sessions=3")
    assert done.returncode == 0, done.stderr
    for kind in ("handshake", "modern", "get", "listen"):
        header, [name, cost, ratio] = rows(tmp_path / f"streams-{kind}.csv")
        assert len(header) == 3
        assert (name, ratio) == ("streamscope", "1.00")
        assert float(cost) > 0


def test_the_memory_of_each_kind_of_client_is_measured(tmp_path):
    done = run("memory.py", tmp_path, "--only=streamscope", "--sessions=50")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "memory.json").read_text())
    assert figures["clients"] == 50
    assert set(figures["bytes"]) == {"idle", "get", "listen"}


def test_many_streams_are_opened_told_of_a_change_and_ended_in_order(tmp_path):
    done = run("many_streams.py", tmp_path, "--only=streamscope-large", "--streams=7", "--few=5")
    assert done.returncode in {0, 1}, done.stderr
    header, *lives = rows(tmp_path / "many_streams-lives.csv")
    told = [dict(zip(header, life, strict=True)) for life in lives]
    assert [(life["kind"], life["streams"], life["complete"], life["result"]) for life in told] == [
        ("half and half", "7", "7", "3"),
        ("GET", "5", "5", ""),
        ("listen", "5", "5", "5"),
    ]
    ends = [row for row in rows(tmp_path / "many_streams-promises.csv") if row[0].endswith("without an orderly end")]
    assert [row[1:] for row in ends] == [["0 clients", "0 clients", "kept"]] * 3


def test_a_server_that_cannot_run_here_is_left_out_and_one_that_nobody_knows_is_an_error(tmp_path):
    environment = {**os.environ, "PATH": ""}
    command = [sys.executable, str(BENCHMARKS / "calls.py"), f"--output={tmp_path}", "--only"]
    done = subprocess.run(
        [*command, "typescript"], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert "Left out: TypeScript SDK on Node.js (there is no Node.js)." in done.stdout
    done = subprocess.run([*command, "nobody"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "There is no server 'nobody'" in done.stderr


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"43"}]}}'),
        (200, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"42"}}'),
        (503, b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"42"}]}}'),
    ],
)
def test_a_wrong_answer_is_not_measured(load, status, body):
    talk = load.call_tool(load.Window(os.getpid(), 1.0, 1), None)
    assert b'"a":20,"b":22' in next(talk)
    with pytest.raises(RuntimeError, match="wrong answer"):
        talk.send(load.Answer(status, None, body))


def test_a_window_begins_and_ends_with_whole_rounds_of_answers(load):
    window = load.Window(os.getpid(), 0.0, 3)
    for number in range(1, 7):
        assert window.open
        window.finished(0.0)
        assert window.open == (number < 6)
    assert window.measurement().operations == 3


def test_the_memory_and_the_time_of_a_process_are_what_the_system_says(load):
    code = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        assert process.stdout.read(1) == b"\n"
        server = load.Server(0, process)
        assert 2**20 < server.rss() < 2**28
        assert 0.2 <= server.cpu_time() < 5
        process.communicate(b"\n")
