"""``streamscope demo``, once in a pipe and once on a terminal; and what it says when a promise is not kept."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from contextlib import suppress

import pytest

from streamscope import _demo, _demo_acts, _demo_ends, _demo_plain
from streamscope._demo_checks import Claim
from tests.cli.helpers import COMMAND, PATIENCE, refusal, run

SESSION_ID = re.compile(r"(?<![\w-])[\w-]{32}(?![\w-])")
"""What the id of a session looks like."""


def test_in_a_pipe():
    done = run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    passed = [line[15:] for line in lines if re.match(r" *[0-9.]+  ok ", line)]
    assert passed == [claim.value for claim in Claim]
    counts = "over [0-9]+ sessions, [0-9]+ streams and [0-9]+ events"
    assert re.fullmatch(rf"{len(Claim)} of {len(Claim)} checks passed in [0-9.]+ s, {counts}\.", lines[-1])
    # The tree, which was shown again and again, and each kind of what is in it.
    for kind in ("editor", "agent", "2026-07-28", "courier", "get", "post", "listen"):
        assert re.search(rf"^ +\S+( \S+)? +{kind} +[0-9.]+s +[0-9.]+s ", done.stdout, re.MULTILINE), kind
    for reason in ("completed", "terminated", "disconnected", "killed", "idle", "shutdown"):
        assert re.search(rf"^ *[0-9.]+  -      .* closed, .*: {reason}$", done.stdout, re.MULTILINE), reason
    assert SESSION_ID.search(done.stdout) is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_on_a_terminal(tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    picture = tmp_path / "picture.svg"
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environ = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        [*COMMAND, "demo", "--pace", "0", "--record", str(picture)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
    ) as process:
        os.close(theirs)
        written = bytearray()
        # Linux says that the other end was closed by an error.
        with suppress(OSError):
            while data := os.read(ours, 65536):
                written += data
        assert process.wait(PATIENCE) == 0, written.decode()
    os.close(ours)
    written_text = written.decode()
    # It is drawn again in the same place.
    assert written_text.count("\x1b[1A") > 100
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written_text)
    assert "╭─ The server is stopped while a tool runs " in shown
    assert "what happens" in shown
    assert "what is checked" in shown
    last = shown[shown.rindex("what is checked") :]
    for claim in Claim:
        assert f"✓ {claim.value}" in last
    assert f"{len(Claim)} of {len(Claim)} checks passed" in last
    check_picture(picture.read_text(encoding="utf-8"))


def check_picture(svg):
    root = ET.fromstring(svg)
    texts = "".join(root.itertext()).replace("\xa0", " ")
    assert "A courier's connection is cut in the middle of a stream" in texts
    assert "none" in texts
    assert SESSION_ID.search(texts) is None
    # Nothing is loaded from anywhere.
    assert re.findall(r"""https?://[^"'\s<)]+""", svg.replace("&#160;", " ")) == [
        "http://www.w3.org/2000/svg",
        *re.findall(r"http://127\.0\.0\.1:[0-9]+/mcp", svg),
    ]


def test_a_picture_that_cannot_be_written(tmp_path):
    message = refusal("demo", "--record", str(tmp_path / "nowhere" / "picture.svg"))
    assert message.startswith("cannot write ")
    assert message.endswith("picture.svg: No such file or directory")


def test_a_picture_without_what_draws_it(tmp_path):
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError('No module named rich', name='rich')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    message = refusal("demo", "--record", "picture.svg", cwd=tmp_path, environ={"PYTHONPATH": path})
    assert message == 'rich is not installed; this command needs streamscope with its "cli" extra'
    assert not (tmp_path / "picture.svg").exists()


# Promises that are not kept: the acts are others, the demo is the real one.


def demo():
    return _demo.run(argparse.Namespace(pace=0, record=None))


async def nothing(*_):
    return None


@pytest.fixture
def only_first_act(monkeypatch):
    """Let the demo consist of its first act, which is the test's."""
    for module in (_demo_acts, _demo_ends):
        for name in ("call", "listen", "sleep", "look_after_sleeper", "delete", "close_response", "kill"):
            monkeypatch.setattr(module, name, nothing, raising=False)
        for name in ("lose_connection", "stop"):
            monkeypatch.setattr(module, name, nothing, raising=False)
    return lambda act: monkeypatch.setattr(_demo_acts, "connect", act)


def test_a_check_that_fails(only_first_act, capsys):
    async def connect(stage, stack):
        stage.board.expect(Claim.BOTH_ERAS, {"editor": "2024-11-05"}, {"editor": "2025-11-25"})

    only_first_act(connect)
    assert demo() == 1
    printed = capsys.readouterr()
    assert f"FAILED {Claim.BOTH_ERAS.value}: got {{'editor': '2024-11-05'}}, wanted" in printed.out
    assert f"\nFAILED: {Claim.BOTH_ERAS.value}\n    got    {{'editor': '2024-11-05'}}\n" in printed.out
    assert f"\nNOT CHECKED: {Claim.RESUMED.value}\n" in printed.out
    assert f"\n2 of {len(Claim)} checks passed in " in printed.out
    assert printed.err == ""


def test_an_act_that_raises(only_first_act, capsys):
    async def connect(stage, stack):
        raise LookupError("the prompter has fallen asleep")

    only_first_act(connect)
    assert demo() == 1
    printed = capsys.readouterr()
    assert f"\n0 of {len(Claim)} checks passed in " in printed.out
    assert "LookupError: the prompter has fallen asleep" in printed.err


def test_a_complaint_of_the_server(only_first_act, capsys):
    import logging

    async def connect(stage, stack):
        logging.getLogger("streamscope.mcp").warning("this is odd")
        logging.getLogger("mcp.client").warning("clients may complain")

    only_first_act(connect)
    assert demo() == 1
    printed = capsys.readouterr().out
    assert f"\nFAILED: {Claim.QUIET.value}\n    got    ['this is odd']\n    wanted []\n" in printed


def test_without_what_draws_a_terminal_shows_lines(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "rich.live", None)
    monkeypatch.delitem(sys.modules, "streamscope._demo_live", raising=False)
    assert _demo._choose_display() is _demo_plain.show_plain
    assert capsys.readouterr().out == 'For a live display, install streamscope with its "cli" extra.\n'


@pytest.mark.parametrize(("terminal", "term"), [(False, "xterm"), (True, "dumb")])
def test_elsewhere_it_shows_lines(monkeypatch, terminal, term):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", term)
    assert _demo._choose_display() is _demo_plain.show_plain
