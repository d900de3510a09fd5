"""Finding the server that ``streamscope serve`` is to serve."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from mcp.server import MCPServer, Server

from ._cli_errors import CannotStartError, TargetRaisedError
from .mcp._seam import AnyServer


def split(target: str) -> tuple[str, str | None]:
    """Split a target into a module or file, and the name of a server in it.

    Raises:
        CannotStartError: What follows the colon is no name.
    """
    place, colon, name = target.rpartition(":")
    if not (place if colon else target):
        raise CannotStartError(f"{target!r} is no target: it names neither a module nor a file")
    # In C:\\files\\server.py the colon belongs to the drive.
    if not colon or (len(place) == 1 and name.startswith(("\\", "/"))):
        return target, None
    if not all(part.isidentifier() for part in name.split(".")):
        raise CannotStartError(f"{target!r} is no target: {name!r} after the colon is no Python name")
    return place, name


def load(target: str) -> AnyServer:
    """Import the module or file that a target names, and return the server in it.

    Like ``python -m``, this looks for modules in the current directory too;
    and like ``python file.py``, it lets a file import its neighbours.

    Raises:
        CannotStartError: There is no such module, file or server.
        TargetRaisedError: The module raised an exception.
    """
    place, name = split(target)
    is_file = place.endswith(".py") or "/" in place or os.sep in place
    module = _import_file(Path(place)) if is_file else _import_module(place)
    return _find(module, place) if name is None else _get(module, place, name)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise CannotStartError(f"there is no file {str(path)!r}")
    # Under its own name, so that a neighbour which imports it gets the same module; unless that is taken.
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_target"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise CannotStartError(f"{str(path)!r} is no Python file; its name must end in .py")
    sys.path.insert(0, str(path.resolve().parent))
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pydantic look up the module of a class there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is shown
        raise TargetRaisedError(exc, f"{path} could not be imported") from None
    return module


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise CannotStartError(f"{name!r} is neither the name of a module nor the path of a Python file")
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as exc:  # noqa: BLE001 - see above
        # The module itself, or a package that it is in; not something that the module wants.
        if isinstance(exc, ModuleNotFoundError) and exc.name and f"{name}.".startswith(f"{exc.name}."):
            raise CannotStartError(
                f"there is no module {exc.name!r}, neither installed nor in this directory"
            ) from None
        raise TargetRaisedError(exc, f"{name} could not be imported") from None


def _get(module: ModuleType, place: str, name: str) -> AnyServer:
    value: Any = module
    for depth, part in enumerate(name.split("."), start=1):
        try:
            value = getattr(value, part)
        except AttributeError:
            missing = ".".join(name.split(".")[:depth])
            raise CannotStartError(f"{place} has no {missing!r}; {_listed(module, place)}") from None
    if not _is_server(value):
        kind = type(value).__name__
        raise CannotStartError(
            f"{place}:{name} is no MCPServer and no low-level Server, but {kind!r}; {_listed(module, place)}"
        )
    server: AnyServer = value
    return server


def _find(module: ModuleType, place: str) -> AnyServer:
    servers = _servers(module)
    if len(servers) != 1:
        raise CannotStartError(_listed(module, place))
    return next(iter(servers.values()))


def _listed(module: ModuleType, place: str) -> str:
    servers = _servers(module)
    if not servers:
        return f"there is no MCPServer and no low-level Server in {place}"
    names = " or ".join(f"{place}:{name}" for name in servers)
    return f"say which server is meant: {names}" if len(servers) > 1 else f"the server there is {names}"


def _servers(module: ModuleType) -> dict[str, AnyServer]:
    """Return the servers in a module by name, each once, by the name that it got first."""
    found: dict[str, AnyServer] = {}
    for name, value in vars(module).items():
        if _is_server(value) and not name.startswith("_") and all(value is not other for other in found.values()):
            found[name] = value
    return found


def _is_server(value: object) -> bool:
    return isinstance(value, MCPServer | Server)
