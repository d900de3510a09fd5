"""An HTTP server for ASGI applications, under Trio.

Needs the ``http`` extra. It knows nothing of sessions or of MCP.
"""

from __future__ import annotations

from .._util import repair_module_names as _repair_module_names
from ._errors import ClientDisconnectedError as ClientDisconnectedError
from ._errors import LifespanError as LifespanError
from ._limits import HTTPLimits as HTTPLimits
from ._server import serve as serve

_repair_module_names(globals(), [name for name in dir() if not name.startswith("_")])
