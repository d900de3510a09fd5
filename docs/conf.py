"""How Sphinx builds the documentation."""

from __future__ import annotations

import builtins
import os
import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer

HERE = Path(__file__).parent

project = "streamscope"
author = "The streamscope authors"
project_copyright = f"2026, {author}"
release = version = installed_version("streamscope")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "newsfragments"]
html_theme = "furo"
html_title = f"streamscope {release}"
html_static_path = ["_static"]

# Docstrings write `Session` or `math.inf` for a link to it.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False

# -- Links to other projects ------------------------------------------------------------------------

# Their inventories come from the network. A build that asks for them, by DOCS_INTERSPHINX=1, or is
# published links to other projects; every other build is the same with or without a network.
if os.environ.get("DOCS_INTERSPHINX") or os.environ.get("READTHEDOCS"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "trio": ("https://trio.readthedocs.io/en/stable", None),
        "outcome": ("https://outcome.readthedocs.io/en/latest", None),
        "attrs": ("https://www.attrs.org/en/stable", None),
    }

# Without the inventories these names lead nowhere, which is no error. A name of streamscope that
# leads nowhere is one, so the list has whole packages only, none of them ours.
_FOREIGN = sorted({*sys.stdlib_module_names, "anyio", "attr", "attrs", "mcp", "mcp_types", "outcome", "trio"})
_BUILTIN = sorted(name for name in vars(builtins) if not name.startswith("_"))
nitpick_ignore_regex = [
    # A signature may show a class that is not public, such as what open_session() returns.
    (r"py:class", r"streamscope(\.\w+)*\._\w+\.\w+"),
    # Nor has a name that is there only to keep signatures short.
    (r"py:class", r"(_seam\.)?AnyServer|PrincipalOf"),
    # Type variables have no page.
    (r"py:(class|obj)", r"[A-Z][A-Z0-9]?|[A-Z]s|_?[A-Z]\w*T(_co|_contra)?"),
    (r"py:.*", rf"({'|'.join(map(re.escape, _FOREIGN))})(\..+)?"),
    (r"py:.*", rf"({'|'.join(map(re.escape, _BUILTIN))})(\..+)?"),
]

# -- Examples ---------------------------------------------------------------------------------------

# A page shows a script of examples/ and what it prints; the doctest builder runs it and compares.
doctest_global_setup = f"""
EXAMPLES = {str(HERE / "examples")!r} + "/"

def load_example(name, run_name="example"):
    import runpy
    return runpy.run_path(EXAMPLES + name, run_name=run_name)

def run_example(name):
    load_example(name, run_name="__main__")

def run_against(server, client):
    import functools
    import trio
    import streamscope.mcp
    from streamscope._cli_target import load

    async def both():
        async with trio.open_nursery() as nursery:
            serve = functools.partial(streamscope.mcp.serve, load(EXAMPLES + server), port=0)
            await load_example(client)["main"](await nursery.start(serve))
            nursery.cancel_scope.cancel()

    trio.run(both)
"""

# -- Docstrings of attributes ----------------------------------------------------------------------


def read_private_modules(package: str, directory: Path) -> None:
    """Let autodoc find the docstrings of attributes in the private modules of a package.

    The package exports their classes under its own name. So autodoc looks for these docstrings, which only
    the source has, in the ``__init__`` of the package.
    """
    public = ModuleAnalyzer.for_module(package)
    public.analyze()
    for path in sorted(directory.glob("_[!_]*.py")):
        private = ModuleAnalyzer.for_file(path, f"{package}.{path.stem}")
        private.analyze()
        first = len(public.tagorder)
        public.tagorder.update({name: first + order for name, order in private.tagorder.items()})
        public.attr_docs.update(private.attr_docs)
        public.annotations.update(private.annotations)
        public.overloads.update(private.overloads)


_spec = find_spec("streamscope")
assert _spec is not None, "install streamscope first, to document it"
assert _spec.origin is not None
_root = Path(_spec.origin).parent
for _init in _root.rglob("__init__.py"):
    # Where an optional dependency is missing, the page that wants the package says so.
    with suppress(PycodeError):
        read_private_modules(".".join(_init.parent.relative_to(_root.parent).parts), _init.parent)


def keep_sentences(_app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Begin an attribute's docstring with an empty comment.

    napoleon would otherwise take "One more: an error." for the description of a value of type "One more".
    """
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]


def look_in_all_modules(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Find a public name of ours, whichever module or page mentions it."""
    if node.get("refdomain") == "py":
        python = env.domains.python_domain
        for module in ("streamscope", "streamscope.abc", "streamscope.mcp", "streamscope.http", "streamscope.testing"):
            if (target := f"{module}.{node['reftarget']}") in python.objects:
                return python.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, contnode)
    return None


def setup(app: Sphinx) -> None:
    """Connect what is above, the first before napoleon."""
    app.connect("autodoc-process-docstring", keep_sentences, priority=400)
    app.connect("missing-reference", look_in_all_modules)


# -- The part of the changelog that is not released yet ---------------------------------------------

_draft = subprocess.run(
    [sys.executable, "-m", "towncrier", "build", "--draft", "--version=Unreleased", "--date=in development"],
    cwd=HERE.parent,
    capture_output=True,
    text=True,
    check=True,
)
(HERE / "_build").mkdir(exist_ok=True)
(HERE / "_build" / "unreleased.rst").write_text(_draft.stdout)
