"""Which Host and Origin are let in: whole names, never prefixes."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope.mcp import LOOPBACK_ONLY, HostPolicy
from streamscope.mcp._wire import Headers, RefusedError

OURS = HostPolicy(frozenset({"app.example", "api.example:8443"}), frozenset({"https://front.example", "vscode://x"}))


def status(policy: HostPolicy, host: str | None, origin: str | None = None) -> int:
    pairs = [(b"host", host), (b"origin", origin)]
    try:
        policy.check(Headers([(name, value.encode("latin-1")) for name, value in pairs if value is not None]))
    except RefusedError as exc:
        return exc.status
    return 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("port", ["", ":80", ":8000", ":65535"])
def test_loopback_names_at_any_port(host, port):
    assert status(LOOPBACK_ONLY, host + port) == 200
    assert status(LOOPBACK_ONLY, host.upper() + port) == 200
    for scheme in ("http", "https"):
        assert status(LOOPBACK_ONLY, host + port, f"{scheme}://{host}{port}") == 200
        assert status(LOOPBACK_ONLY, host + port, f"{scheme}://localhost:3000") == 200


TRICKS = [
    "localhost.evil.example",
    "localhost:80.evil.example",
    "localhost:80@evil.example",
    "localhost@evil.example",
    "evil.example:80",
    "evil.example",
    "evil-localhost",
    "xlocalhost",
    "127.0.0.1.evil.example",
    "127.0.0.1:80.evil.example",
    "127.0.0.11",
    "127.0.0.2",
    "[::1].evil.example",
    "[::1]:80.evil.example",
    "[::1]evil",
    "[::2]",
    "::1",
    "[::1",
    "localhost:",
    "localhost:80:80",
    "localhost:-80",
    "localhost:+80",
    "localhost:8_0",
    "localhost:²",
    "localhost.",
    "localhost, evil.example",
    "evil.example, localhost",
    "localhost/",
    "localhost:80/evil",
    "localhost#evil.example",
    "localhost?evil.example",
    "localhost evil.example",
    "0.0.0.0",
    "2130706433",
    ":80",
    ":",
    "",
]


@pytest.mark.parametrize("host", TRICKS)
def test_a_foreign_host_is_misdirected(host):
    assert status(LOOPBACK_ONLY, host) == 421


@pytest.mark.parametrize("host", TRICKS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_foreign_origin_is_forbidden(scheme, host):
    assert status(LOOPBACK_ONLY, "localhost:8000", f"{scheme}://{host}") == 403


@pytest.mark.parametrize(
    "origin",
    ["null", "", "localhost", "//localhost", "http:localhost", "file://localhost", "ftp://localhost", "HTTP:/localhost",
     "http://localhost, http://localhost", "http://http://localhost", "://localhost"],
)  # fmt: skip
def test_what_is_no_http_origin_is_forbidden(origin):
    assert status(LOOPBACK_ONLY, "localhost", origin) == 403


def test_a_request_without_a_host_is_misdirected():
    assert status(LOOPBACK_ONLY, None) == 421
    assert status(LOOPBACK_ONLY, None, "http://localhost") == 421


def test_two_hosts_are_none():
    headers = Headers([(b"host", b"localhost"), (b"host", b"localhost")])
    with pytest.raises(RefusedError) as caught:
        LOOPBACK_ONLY.check(headers)
    assert caught.value.status == 421


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("app.example", 200),
        ("APP.example:1", 200),
        ("api.example:8443", 200),
        ("api.example:8444", 421),
        ("api.example", 421),
        ("localhost", 421),
        ("x.app.example", 421),
        ("app.example.", 421),
    ],
)
def test_a_name_with_a_port_is_for_that_port_only(host, expected):
    assert status(OURS, host) == expected
    assert status(OURS, "app.example", f"https://{host}") == (200 if expected == 200 else 403)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://front.example", 200),
        ("vscode://x", 200),
        ("http://front.example", 403),
        ("https://front.example:444", 403),
        ("https://front.example.evil.example", 403),
        ("https://front.example/", 403),
    ],
)
def test_further_origins_are_compared_whole(origin, expected):
    assert status(OURS, "app.example", origin) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://front.example", 200),
        ("http://front.example:80", 200),
        ("http://front.example:65535", 200),
        ("https://front.example:80", 403),
        ("http://front.example:*", 200),
        ("http://front.example:80.evil.example", 403),
        ("http://front.example:80:80", 403),
        ("http://front.example.evil.example:80", 403),
        ("http://x.front.example:80", 403),
        ("http://front.example:", 403),
        ("http://front.example:x", 403),
        (":80", 403),
    ],
)
def test_an_origin_may_be_let_in_on_any_port(origin, expected):
    policy = HostPolicy(frozenset({"app.example"}), frozenset({"http://front.example:*"}))
    assert status(policy, "app.example", origin) == expected


def test_any_host_where_none_is_given():
    for host in [*TRICKS, None]:
        assert status(HostPolicy(), host, "http://evil.example") == 200


@given(st.text(st.characters(codec="latin-1")), st.text(st.characters(codec="latin-1")))
def test_only_these_names_come_through(host, origin):
    if status(LOOPBACK_ONLY, host, origin) == 200:
        for authority in (host.strip(), origin.strip().partition("://")[2]):
            name = authority.lower().removesuffix(":" + authority.rpartition(":")[2])
            assert {name, authority.lower()} & {"localhost", "127.0.0.1", "[::1]"}


def test_a_policy_is_a_value():
    assert HostPolicy(frozenset({"a"})) == HostPolicy(frozenset({"a"}))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        HostPolicy().hosts = frozenset()  # type: ignore[misc]


def test_origins_without_hosts_would_let_in_any():
    with pytest.raises(ValueError, match="say which hosts"):
        HostPolicy(None, frozenset({"https://app.example"}))
