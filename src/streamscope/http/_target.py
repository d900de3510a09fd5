"""The four forms of a request's target (RFC 9112, section 3.2), and what they say."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, final
from urllib.parse import unquote

import attrs

from ._errors import RefusedError

# RFC 3986, section 3.2.2: a name, an IPv4 address, or an IP literal; and a port. No user information
# (RFC 9110, section 4.2.4).
_HOST: Final = rb"(?:\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[!$&-.0-;=A-Z_a-z~]+\]|[!$%&-.0-9;=A-Z_a-z~]*)(?::[0-9]*)?"
_AUTHORITY: Final = re.compile(_HOST)
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(.*)")


@final
@attrs.frozen(eq=False)
class Target:
    """What a target says."""

    path: str
    """Percent-decoded, and read as UTF-8."""

    raw_path: bytes
    query_string: bytes

    authority: bytes | None = None
    """Which host it names, if it does: this takes the place of the ``Host`` header field."""


# Most clients of a server ask for the same few things.
@lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """Tell whether this may be the value of a ``Host`` header field (RFC 9110, section 7.2)."""
    return _AUTHORITY.fullmatch(value) is not None


@lru_cache(maxsize=256)
def read_target(method: str, target: bytes, scheme: str) -> Target:
    """Read the target of a request.

    Args:
        method: The request's method.
        target: Visible ASCII characters.
        scheme: The scheme of the connection, ``http`` or ``https``.

    Raises:
        RefusedError: 400 for what is none of the forms, or not for this method; 421 for a URI of another
            scheme (RFC 9110, section 7.4); 501 for ``CONNECT``, which is for proxies.
    """
    if method == "CONNECT":
        raise RefusedError(501, "This server is no proxy")
    if b"#" in target:
        raise RefusedError(400, "The request's target has a fragment")
    if target.startswith(b"/"):
        return _split(target)
    if target == b"*" and method == "OPTIONS":
        return Target("*", b"*", b"")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise RefusedError(400, "The request's target is neither a path nor a URI")
    named, authority, rest = absolute.groups()
    if named.lower() != scheme.encode():
        raise RefusedError(421, f"This connection is for {scheme} URIs")
    if not is_host(authority) or authority.startswith(b":") or not authority:
        raise RefusedError(400, "The request's target names no host")
    if not rest and method == "OPTIONS":
        # RFC 9112, section 3.2.4.
        return Target("*", b"*", b"", authority)
    return _split(rest if rest.startswith(b"/") else b"/" + rest, authority)


def _split(target: bytes, authority: bytes | None = None) -> Target:
    raw_path, _, query_string = target.partition(b"?")
    path = raw_path.decode("ascii")
    return Target(unquote(path) if "%" in path else path, raw_path, query_string, authority)
