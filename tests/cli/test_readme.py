"""The README says what is true: its code runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import textwrap

import pytest

from streamscope._cli import make_parser
from tests.cli.helpers import EXAMPLES, PATIENCE, ROOT

README = (ROOT / "README.rst").read_text(encoding="utf-8")


def blocks(language):
    """Return the code blocks in a language."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", README, re.MULTILINE)
    return [textwrap.dedent(block).strip() + "\n" for block in found]


def test_the_server_is_the_example():
    server, _ = blocks("python")
    example = (EXAMPLES / "weather.py").read_text(encoding="utf-8")
    assert example.partition('"""\n\n')[2] == server
    assert len(server.splitlines()) == 14, "the heading says how many"


def test_the_core_runs():
    _, core = blocks("python")
    done = subprocess.run([sys.executable, "-c", core], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_commands_of_streamscope_can_be_given():
    lines = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("streamscope ")]
    assert commands
    for command in commands:
        options = make_parser().parse_args(command[1:])
        assert (ROOT / options.target.partition(":")[0]).is_file()


def test_the_sessions_of_nox_are_there():
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    named = set(re.findall(r"nox -s (\w+)", README))
    assert {"demo", "tests"} <= named <= sessions


@pytest.mark.parametrize("extra", sorted(set(re.findall(r'"\.\[(\w+)\]"', README))))
def test_the_extras_are_there(extra):
    assert f"\n{extra} = [\n" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"<((?!http)[\w./]+)>`_", README))))
def test_a_link_leads_somewhere(link):
    assert (ROOT / link).is_file()


def test_the_picture_is_there():
    picture = re.search(r"^\.\. image:: (\S+)$", README, re.MULTILINE)
    assert picture is not None
    assert (ROOT / picture[1]).read_text(encoding="utf-8").startswith("<svg ")
