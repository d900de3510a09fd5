"""A file imports only from floors below its own; docs/design.rst explains the floors.

Every import counts: those within functions and those for type checkers, too.
"""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

import attrs
import pytest

import streamscope

# From the ground up. On its own floor, a file may import those that stand before it.
FLOORS = [
    # 0: nothing but each other
    ["_reasons", "_util", "_version", "_ids"],
    # 1: values
    ["_errors", "_limits", "_slow_readers", "_metadata", "_changes", "_statistics"],
    # 2: pure
    ["_window", "_unread", "_retention", "_records", "_idle_order", "_registry"],
    # 3: interfaces
    ["abc", "_memory", "_forward"],
    # 4: Trio
    [
        "_clock",
        "_idle",
        "_feed",
        "_reader",
        "_audience",
        "_opening",
        "_start",
        "_stream",
        "_streams",
        "_readers",
        "_hold",
        "_resources",
        "_session",
        "_session_block",
        "_manager",
        "_open",
    ],
]
CORE = [name for floor in FLOORS for name in floor]
# The front door is above the core: no file of the core comes in through it.
FRONT_DOOR = "__init__"
# 5: adapters, each a package. None imports another, except:
ADAPTERS = {"cluster", "http", "log", "mcp", "observe", "testing"}
JOINED = {("mcp/_serve", "http")}
# 6: the command line. It may import everything, and nothing imports it.
COMMAND_LINE = ("__main__", "_cli", "_demo")

# What the core, and what is to be usable wherever the core is, may import from elsewhere.
DEPENDENCIES = {"attrs", "trio"}
WITHOUT_EXTRAS = {"testing"}
# pydantic is there when it calls the hook that imports this.
HOOKS = {("_ids", "pydantic_core")}

ROOT = Path(streamscope.__file__).parent
FILES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in sorted(ROOT.rglob("*.py"))}


@attrs.frozen
class Import:
    """What a file imports: a file of the package by its path, such as ``mcp/_serve``, or a foreign module."""

    target: str
    ours: bool
    within_function: bool


def find_imports(name: str, source: str) -> list[Import]:
    """List what a file imports.

    Args:
        name: Its path in the package, without the suffix.
        source: Its text.
    """
    found: list[Import] = []

    def visit(node: ast.AST, *, within_function: bool) -> None:
        match node:
            case ast.Import(names):
                found.extend(locate(alias.name.split("."), within_function=within_function) for alias in names)
            case ast.ImportFrom(module, names, level):
                base = (module or "").split(".") if module else []
                if level:
                    directory = PurePosixPath(name).parts[:-1]
                    base = ["streamscope", *directory[: len(directory) - level + 1], *base]
                found.extend(locate([*base, alias.name], within_function=within_function) for alias in names)
        inner = within_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, within_function=inner)

    visit(ast.parse(source), within_function=False)
    return found


def locate(parts: list[str], *, within_function: bool) -> Import:
    """Find the file that holds a module, or a name in a module."""
    if parts[0] != "streamscope":
        return Import(parts[0], ours=False, within_function=within_function)
    path = "/".join(parts[1:])
    if path not in FILES:
        # A package, or a name in a file or in a package.
        candidates = [f"{path}/__init__", "/".join(parts[1:-1]), "/".join([*parts[1:-1], "__init__"])]
        path = next(candidate for candidate in candidates if candidate in FILES)
    return Import(path, ours=True, within_function=within_function)


def place(name: str) -> tuple[str, str]:
    """Return the kind of a file, and which it is of that kind."""
    package, slash, _ = name.partition("/")
    if slash and package in ADAPTERS:
        return "adapter", package
    if name in CORE or name == FRONT_DOOR:
        return ("core", name) if name in CORE else ("front door", name)
    if not slash and name.startswith(COMMAND_LINE):
        return "command line", name
    raise LookupError(f"{name}.py is on no floor: add it to the table in {Path(__file__).name}")


def may_import(name: str, found: Import) -> bool:
    """Tell whether a file may import what it does."""
    kind, which = place(name)
    if not found.ours:
        if found.target == "asyncio":
            return False
        bare = kind in {"core", "front door"} or which in WITHOUT_EXTRAS
        return (
            not bare
            or found.target in DEPENDENCIES
            or found.target in sys.stdlib_module_names - {"importlib"}
            or ((name, found.target) in HOOKS and found.within_function)
        )
    kind_there, there = place(found.target)
    match kind, kind_there:
        case "core", "core":
            return CORE.index(there) < CORE.index(which)
        case ("front door" | "adapter", "core") | ("adapter", "front door") | ("command line", _):
            return True
        case "adapter", "adapter":
            return which == there or (name, there) in JOINED
        case _:
            return False


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_from_below(name):
    found = find_imports(name, FILES[name].read_text(encoding="utf-8"))
    assert [each.target for each in found if not may_import(name, each)] == []


def test_the_table_names_no_file_that_is_gone():
    assert sorted(set(CORE) - set(FILES)) == []
    assert len(CORE) == len(set(CORE))


@pytest.mark.parametrize("package", sorted(ADAPTERS))
def test_no_cycle_within_an_adapter(package):
    names = [name for name in FILES if name.startswith(f"{package}/")]
    graph = {
        name: {each.target for each in find_imports(name, FILES[name].read_text(encoding="utf-8")) if each.ours}
        for name in names
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("name", "source", "good"),
    [
        ("_errors", "from ._ids import StreamId", True),
        ("_errors", "import streamscope._ids", True),
        ("_ids", "from ._errors import LimitError", False),
        ("_ids", "from streamscope._errors import LimitError", False),
        ("_ids", "from . import _errors", False),
        ("_ids", "import streamscope", False),
        ("_ids", "from . import StreamId", False),
        ("_session", "from ._manager import SessionManager", False),
        ("_session", "def f():\n  from ._manager import SessionManager", False),
        ("_session", "if TYPE_CHECKING:\n  from ._manager import SessionManager", False),
        ("_manager", "from ._session import Session", True),
        ("_manager", "from .testing import check_event_log", False),
        ("_manager", "from ._cli import main", False),
        ("abc", "import typing_extensions", False),
        ("abc", "import importlib", False),
        ("abc", "import asyncio", False),
        ("abc", "from asyncio.tasks import Task", False),
        ("_ids", "def hook():\n  from pydantic_core import core_schema", True),
        ("_ids", "from pydantic_core import core_schema", False),
        ("_util", "def hook():\n  from pydantic_core import core_schema", False),
        ("__init__", "from . import abc", True),
        ("__init__", "from .testing import check_event_log", False),
        ("testing/_bench", "from .._ids import StreamId", True),
        ("testing/_bench", "from ._require import require", True),
        ("testing/_bench", "from .. import StreamId", True),
        ("testing/_bench", "import streamscope.abc", True),
        ("testing/_bench", "from ..mcp import serve", False),
        ("testing/_bench", "from streamscope.mcp._serve import serve", False),
        ("testing/_bench", "import pytest", False),
        ("mcp/_serve", "import pytest", True),
        ("mcp/_serve", "import asyncio", False),
        ("mcp/_serve", "from .._cli import main", False),
        ("_cli", "from .mcp import serve", True),
        ("_cli", "async def f():\n  import asyncio", False),
    ],
)
def test_this_test_can_fail(name, source, good):
    (found,) = find_imports(name, source)
    assert may_import(name, found) is good


def test_a_new_file_has_to_be_put_on_a_floor():
    with pytest.raises(LookupError, match=r"_new\.py is on no floor"):
        place("_new")
    with pytest.raises(LookupError, match=r"new/_file\.py is on no floor"):
        place("new/_file")
