"""Streamable HTTP for servers written with the official MCP SDK, under Trio.

Needs the ``mcp`` extra.
"""

from __future__ import annotations

from .._util import repair_module_names as _repair_module_names
from ._drop_in import StreamableHTTPSessionManager as StreamableHTTPSessionManager
from ._endpoint import StreamableHTTPEndpoint as StreamableHTTPEndpoint
from ._options import EndpointOptions as EndpointOptions
from ._options import Options as Options
from ._seam import principal_of as principal_of
from ._serve import serve as serve
from ._wire import LOOPBACK_ONLY as LOOPBACK_ONLY
from ._wire import HostPolicy as HostPolicy

_repair_module_names(globals(), [name for name in dir() if not name.startswith("_")])
