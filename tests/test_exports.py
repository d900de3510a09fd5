"""What is public, says so, says where it comes from, and says what it does."""

from __future__ import annotations
import __future__

import ast
import enum
import importlib
import inspect
import re
import sys
import typing
from itertools import pairwise
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import streamscope
from streamscope import abc, log, testing

ROOT = Path(streamscope.__file__).parent
REFERENCE = Path(__file__).parents[1] / "docs" / "api.rst"

# Packages with a front door; those of which the dependencies are not installed cannot be looked at.
PACKAGES = [
    ".".join(["streamscope", *path.parent.relative_to(ROOT).parts]) for path in sorted(ROOT.rglob("__init__.py"))
]
# Classes that are neither final nor abstract: bases of errors, to be caught and not to be derived from.
BASES_OF_ERRORS = {streamscope.EventLogError, streamscope.LimitError, log.EventLogOpenError}


def load(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("streamscope"):
            raise
        pytest.skip(f"{package} needs {error.name}")


def parse(module: ModuleType) -> ast.Module:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"))


def find_public(module: ModuleType) -> dict[str, object]:
    """The names that a package imports to hand them out; modules that were imported elsewhere are none."""
    return {
        alias.name: getattr(module, alias.name)
        for node in parse(module).body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
        if not (alias.asname or alias.name).startswith("_")
    }


def find_classes(module: ModuleType) -> list[type]:
    public = {name: getattr(module, name) for name in abc.__all__} if module is abc else find_public(module)
    return [obj for obj in public.values() if isinstance(obj, type)]


each_package = pytest.mark.parametrize("package", PACKAGES)
each_module = pytest.mark.parametrize("module", [*PACKAGES, "streamscope.abc"])


@each_package
def test_every_import_of_a_front_door_is_public_or_hidden(package):
    # ``X as X`` is how type checkers tell what is handed out from what is only used.
    module = load(package)
    for node in parse(module).body:
        assert not isinstance(node, ast.Import), f"line {node.lineno} imports a module by its plain name"
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for alias in node.names:
                shown = alias.asname or ""
                assert shown == alias.name or shown.startswith("_"), f"{alias.name} is not imported as itself"


@each_package
def test_there_is_nothing_else_at_the_front_door(package):
    module = load(package)
    # Modules are there once somebody has imported them; the other is what a ``from __future__`` leaves behind.
    by_the_way = (ModuleType, type(__future__.annotations))
    there = {name for name, obj in vars(module).items() if not (name.startswith("_") or isinstance(obj, by_the_way))}
    assert there == {name for name, obj in find_public(module).items() if not isinstance(obj, by_the_way)}
    assert not hasattr(module, "__all__")


def test_the_interfaces_hand_out_what_they_define():
    defined = [node.name for node in parse(abc).body if isinstance(node, ast.ClassDef)]
    assert sorted(abc.__all__) == sorted(defined)


@each_module
def test_a_public_name_says_where_it_is_imported_from(module):
    named: list[Any] = [*find_classes(load(module)), *find_functions(load(module))]
    for obj in named:
        assert obj.__module__ == module
        assert getattr(sys.modules[obj.__module__], obj.__name__) is obj


def find_functions(module: ModuleType) -> list[FunctionType]:
    return [] if module is abc else [obj for obj in find_public(module).values() if isinstance(obj, FunctionType)]


@each_module
def test_a_public_class_is_final_or_made_to_be_derived_from(module):
    for cls in find_classes(load(module)):
        final = "__final__" in vars(cls)
        # Python itself lets nobody derive from these.
        closed = issubclass(cls, enum.Enum) or typing.is_typeddict(cls)
        assert final or closed or inspect.isabstract(cls) or cls in BASES_OF_ERRORS, f"{cls} is neither"
        assert not (final and inspect.isabstract(cls)), f"{cls} is both"


def test_a_base_of_errors_has_errors():
    for base in BASES_OF_ERRORS:
        assert issubclass(base, Exception)
        assert base.__subclasses__()


@each_package
def test_everything_public_has_a_docstring(package):
    module = load(package)
    assert module.__doc__
    undocumented = [
        name
        for name, obj in find_public(module).items()
        if not (obj.__doc__ if isinstance(obj, type | FunctionType | ModuleType) else find_docstring(module, name))
    ]
    assert undocumented == []


def find_docstring(module: ModuleType, name: str) -> str | None:
    """Find the string below the definition of a public name that is no class or function, in a private file."""
    (source,) = (
        node.module
        for node in parse(module).body
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]
    )
    body = parse(importlib.import_module(f"{module.__name__}.{source}")).body
    for node, following in pairwise(body):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                match following:
                    case ast.Expr(ast.Constant(str(text))):
                        return text
    return None


@each_module
def test_every_public_member_has_a_docstring(module):
    undocumented = [
        f"{cls.__name__}.{name}"
        for cls in find_classes(load(module))
        for name, member in vars(cls).items()
        if not name.startswith("_")
        and isinstance(member, FunctionType | property | classmethod | staticmethod)
        # An implementation may leave it to its interface to say what it does.
        and not inspect.getdoc(getattr(cls, name))
    ]
    assert undocumented == []


@pytest.mark.skipif(not REFERENCE.exists(), reason="installed without the documentation")
@each_module
def test_everything_public_is_in_the_reference(module):
    names = abc.__all__ if module == "streamscope.abc" else list(find_public(load(module)))
    text = REFERENCE.read_text(encoding="utf-8")
    described = set(re.findall(r"(?m)^\.\. (?:auto|py:)?\w+:: (?:\w+\.)*(\w+)", text))
    assert sorted(set(names) - described) == []


def test_testing_hands_out_what_tests_need():
    assert set(find_public(testing)) == {"assert_no_leftovers", "check_event_log"}
