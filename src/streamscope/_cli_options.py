"""The options of the command line, and how their values are read."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable

from ._limits import Limits
from ._util import check_count, check_seconds

_DEFAULTS = Limits()
# RFC 3986, section 3.2.2, of which `Host` and `Origin` headers have a name, an IPv4 address or an IPv6 address.
_HOST = r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
_AUTHORITY = re.compile(rf"{_HOST}(?::([0-9]{{1,5}}))?")
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://{_HOST}(?::([0-9]{{1,5}}|\*))?")
_OMITTED_PORTS = {"http": "80", "https": "443"}


def port(text: str) -> int:
    """Read a TCP port; 0 stands for any that is free."""
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port from 0 to 65535, not {text!r}")
    return value


def path(text: str) -> str:
    """Read the path of a URL."""
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or set(text) & set(" ?#%"):
        raise argparse.ArgumentTypeError(f"must be a plain path that begins with a slash, such as /mcp, not {text!r}")
    return text


def allowed_host(text: str) -> str:
    """Read what a ``Host`` header may be: a name or an address, for any port or for one."""
    found = _AUTHORITY.fullmatch(text.lower())
    if found is None:
        raise argparse.ArgumentTypeError(
            f"must be a name or an address, such as app.example, app.example:8443 or [::1], not {text!r}"
        )
    if found[1] is not None:
        port(found[1])
    return text.lower()


def allowed_origin(text: str) -> str:
    """Read what an ``Origin`` header may be (RFC 6454, section 6.2), or that with any port."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        raise argparse.ArgumentTypeError(
            f"must be a scheme and a host, such as https://app.example or http://localhost:*, not {text!r}"
        )
    scheme, number = found.groups()
    if number is not None and number == _OMITTED_PORTS.get(scheme):
        raise argparse.ArgumentTypeError(f"must not name the port {number}, which browsers leave out, in {text!r}")
    if number is not None and number != "*":
        port(number)
    return text.lower()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def seconds(text: str) -> float:
    """Read a time-out."""
    return _checked(check_seconds, "it", _number(text), f"must be more than 0 seconds, or inf, not {text!r}")


def grace(text: str) -> float:
    """Read a time that may be none at all."""
    value = _number(text)
    if math.isnan(value) or value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 seconds or more, not {text!r}")
    return value


def count(text: str) -> float:
    """Read a bound."""
    return _checked(check_count, "it", _number(text), f"must be a whole number of at least 1, or inf, not {text!r}")


def event_log(text: str) -> str | None:
    """Read where events are kept: the path of a database, or ``None`` for memory."""
    kind, colon, where = text.partition(":")
    if (kind, colon) == ("memory", ""):
        return None
    if kind == "sqlite" and where:
        return where
    raise argparse.ArgumentTypeError(f"must be memory, or sqlite:PATH as in sqlite:events.db, not {text!r}")


def pace(text: str) -> float:
    """Read a factor."""
    value = _number(text)
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 10, not {text!r}")
    return value


def _checked(check: Callable[[str, float], float], name: str, value: float, message: str) -> float:
    try:
        return check(name, value)
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``streamscope serve`` takes."""
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="module:name or path/to/file.py:name, where the name is that of an MCPServer or a low-level Server "
        "and may be dotted; without a name, the only server there is",
    )
    listening = parser.add_argument_group("where to listen")
    listening.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    listening.add_argument(
        "--port", type=port, default=8000, help="port to listen on; 0 for any that is free (default: %(default)s)"
    )
    listening.add_argument("--path", type=path, default="/mcp", help="path of the endpoint (default: %(default)s)")

    letting_in = parser.add_argument_group(
        "whom to let in",
        "Requests say in Host what they were sent to, and in Origin which web page made them. On a loopback address, "
        "only those for this machine are let in, and those that are allowed here; on any other address all are, "
        "unless --allow-host says which.",
    )
    letting_in.add_argument(
        "--allow-host",
        type=allowed_host,
        action="append",
        default=[],
        metavar="NAME",
        dest="allowed_hosts",
        help="let in requests for this host, on any port unless one is given; may be repeated",
    )
    letting_in.add_argument(
        "--allow-origin",
        type=allowed_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        dest="allowed_origins",
        help="let in requests of web pages of this origin, besides those of the hosts; may be repeated",
    )

    limits = parser.add_argument_group("limits, in seconds where they are times; inf for none")
    limits.add_argument(
        "--idle-timeout",
        type=seconds,
        default=_DEFAULTS.idle_timeout,
        metavar="SECONDS",
        help="end a session that nothing has held for so long (default: %(default)g)",
    )
    limits.add_argument(
        "--max-age",
        type=seconds,
        default=_DEFAULTS.max_age,
        metavar="SECONDS",
        help="end a session that is so old (default: %(default)g)",
    )
    limits.add_argument(
        "--max-sessions",
        type=count,
        default=_DEFAULTS.max_sessions,
        metavar="COUNT",
        help="open no more sessions at once; an idle one makes room for another (default: %(default)g)",
    )
    limits.add_argument(
        "--max-connections",
        type=count,
        metavar="COUNT",
        help="take no more connections at once; not with Hypercorn (default: 10000)",
    )
    running = parser.add_argument_group("running")
    running.add_argument(
        "--server",
        choices=["streamscope", "hypercorn"],
        default="streamscope",
        help="what speaks HTTP: the server of this package, or Hypercorn (default: %(default)s)",
    )
    running.add_argument(
        "--log",
        type=event_log,
        default="memory",
        metavar="LOG",
        help="where events are kept for clients that come back: memory, or sqlite:PATH for a database, which is made "
        "where there is none (default: %(default)s)",
    )
    running.add_argument(
        "--grace",
        type=grace,
        default=5.0,
        metavar="SECONDS",
        help="let a clean stop take so long at most (default: %(default)g)",
    )
    running.add_argument(
        "--log-level",
        type=str.lower,
        choices=["debug", "info", "warning", "error", "critical"],
        default="info",
        help="what to log on standard error; debug tells of each session, stream and reader (default: %(default)s)",
    )
