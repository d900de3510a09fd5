"""The page about security names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
NAMED = re.compile(r"``([a-z_]+/test_[a-z_]+\.py)::(test_[a-z0-9_]+)``")


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_defence_is_held_by_a_test_that_there_is():
    page = (TESTS.parent / "docs" / "security.rst").read_text()
    named = NAMED.findall(page)
    assert page.count("::test_") == len(named) > 20
    assert [f"{path}::{name}" for path, name in named if name not in names_in(TESTS / path)] == []
    # Each row of the tables names one: those of the head are no rows.
    assert len(re.findall(r"(?m)^   \* - (?!Threat)", page)) <= len(named)
