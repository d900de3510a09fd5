"""Which server a target names."""

from __future__ import annotations

import sys

import pytest

from streamscope._cli_errors import CannotStartError, TargetRaisedError
from streamscope._cli_target import load, split

pytestmark = pytest.mark.usefixtures("clean_imports")

TWO = """
from mcp.server import MCPServer, Server

high = MCPServer("high")
low = Server("low")
alias = high
_hidden = MCPServer("hidden")
number = 7


class Holder:
    inner = MCPServer("inner")
"""


@pytest.fixture
def two(tmp_path, monkeypatch):
    (tmp_path / "two.py").write_text(TWO)
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "deep.py").write_text("from mcp.server import MCPServer\nonly = also = MCPServer('only')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("module", ("module", None)),
        ("package.module:server", ("package.module", "server")),
        ("package.module:holder.server", ("package.module", "holder.server")),
        ("path/to/file.py", ("path/to/file.py", None)),
        ("path/to/file.py:server", ("path/to/file.py", "server")),
        ("C:\\path\\file.py", ("C:\\path\\file.py", None)),
        ("C:/path/file.py", ("C:/path/file.py", None)),
        ("C:\\path\\file.py:server", ("C:\\path\\file.py", "server")),
        ("a:b.py:server", ("a:b.py", "server")),
    ],
)
def test_a_target_is_split(target, parts):
    assert split(target) == parts


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("module:", "'' after the colon is no Python name"),
        ("module:1st", "'1st' after the colon is no Python name"),
        ("module:a..b", "'a..b' after the colon is no Python name"),
        ("file.py:server()", "'server()' after the colon is no Python name"),
        (":server", "it names neither a module nor a file"),
        ("", "it names neither a module nor a file"),
    ],
)
def test_what_is_no_target_is_refused(target, expected):
    with pytest.raises(CannotStartError) as caught:
        split(target)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("two:high", "high"),
        ("two:low", "low"),
        ("two:alias", "high"),
        ("two:_hidden", "hidden"),
        ("two:Holder.inner", "inner"),
        ("two.py:low", "low"),
        ("./two.py:low", "low"),
        ("package.deep", "only"),
        ("package.deep:also", "only"),
        ("package/deep.py", "only"),
    ],
)
def test_a_server_is_found(two, target, name):
    assert load(target).name == name


def test_a_file_is_found_from_elsewhere(two, monkeypatch):
    monkeypatch.chdir("/")
    assert load(f"{two / 'two.py'}:low").name == "low"


def test_a_module_is_imported_once(two):
    assert load("two:high") is load("two:alias")


def test_a_file_may_import_its_neighbours_and_they_it(two, monkeypatch):
    (two / "shared.py").write_text("import app\nname = 'shared'\nassert app.early == 1\n")
    (two / "app.py").write_text(
        "early = 1\nimport shared\nfrom mcp.server import MCPServer\nserver = MCPServer(shared.name)\n"
    )
    monkeypatch.chdir("/")
    assert load(str(two / "app.py")).name == "shared"
    assert sys.modules["app"].__file__ == str((two / "app.py").resolve())


def test_a_file_may_have_the_name_of_a_module_that_is_there(two):
    import json

    (two / "json.py").write_text("from mcp.server import MCPServer\nserver = MCPServer('mine')\n")
    assert load("json.py").name == "mine"
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("nothing.py", "there is no file 'nothing.py'"),
        ("no/such/module", "there is no file 'no/such/module'"),
        ("package/", "there is no file 'package'"),
        ("two.txt", "there is no module 'two.txt'"),
        ("./two.txt", "'two.txt' is no Python file; its name must end in .py"),
        ("nothing", "there is no module 'nothing', neither installed nor in this directory"),
        ("nothing.inner:x", "there is no module 'nothing', neither installed nor in this directory"),
        ("package.nothing", "there is no module 'package.nothing', neither installed nor in this directory"),
        ("two.inner", "there is no module 'two.inner', neither installed nor in this directory"),
        ("my-server", "'my-server' is neither the name of a module nor the path of a Python file"),
        ("two", "say which server is meant: two:high or two:low"),
        ("two.py", "say which server is meant: two.py:high or two.py:low"),
        ("two:nothing", "two has no 'nothing'; say which server is meant: two:high or two:low"),
        ("two:Holder.nothing", "two has no 'Holder.nothing'; say which server is meant: two:high or two:low"),
        ("two:number", "two:number is no MCPServer and no low-level Server, but 'int'; say which server is meant"),
        ("package.deep:nothing", "package.deep has no 'nothing'; the server there is package.deep:only"),
        ("package", "there is no MCPServer and no low-level Server in package"),
        ("package:x", "package has no 'x'; there is no MCPServer and no low-level Server in package"),
    ],
)
def test_a_server_that_is_not_there(two, target, expected):
    (two / "two.txt").write_text("")
    with pytest.raises(CannotStartError) as caught:
        load(target)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", ["broken", "broken.py", "broken:server"])
@pytest.mark.parametrize("text", ["1 / 0", "import not_there", "def f(:", "import broken.inner"])
def test_the_module_raises(two, target, text):
    (two / "broken.py").write_text(text)
    with pytest.raises(TargetRaisedError):
        load(target)


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt"])
def test_an_exit_is_the_module_s_own_business(two, error):
    (two / "leaving.py").write_text(f"raise {error}")
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        load("leaving.py")


def test_the_traceback_begins_in_the_module(two, capsys):
    (two / "outer.py").write_text("import inner_module\n")
    (two / "inner_module.py").write_text("def f():\n    raise ValueError('mine')\n\n\nf()\n")
    with pytest.raises(TargetRaisedError) as caught:
        load("outer.py")
    caught.value.show()
    printed = capsys.readouterr().err
    lines = printed.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "outer.py" in lines[1]
    assert lines[-2:] == ["ValueError: mine", "streamscope: error: outer.py could not be imported; see above"]
    assert "streamscope/_cli" not in printed
    assert "inner_module.py" in printed
