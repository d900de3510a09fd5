"""What is typed, before anything runs: values, versions, help."""

from __future__ import annotations

import math

import pytest

import streamscope
from streamscope._cli import make_parser
from streamscope._cli_serve import host_policy
from streamscope.mcp import LOOPBACK_ONLY, HostPolicy
from tests.cli.helpers import refusal, run


def parse(*arguments):
    return make_parser().parse_args(arguments)


def test_the_defaults_are_those_of_the_library():
    options = parse("serve", "server.py")
    limits = streamscope.Limits()
    assert (options.host, options.port, options.path, options.grace) == ("127.0.0.1", 8000, "/mcp", 5)
    assert options.idle_timeout == limits.idle_timeout
    assert options.max_age == limits.max_age
    assert options.max_sessions == limits.max_sessions
    assert options.log_level == "info"
    assert options.log is None
    assert options.allowed_hosts == options.allowed_origins == []


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("--port", "0", 0),
        ("--port", "65535", 65535),
        ("--path", "/", "/"),
        ("--path", "/a/b-c", "/a/b-c"),
        ("--idle-timeout", "0.5", 0.5),
        ("--idle-timeout", "inf", math.inf),
        ("--max-age", "1e3", 1000),
        ("--max-sessions", "1", 1),
        ("--max-sessions", "inf", math.inf),
        ("--max-connections", "20000", 20000),
        ("--grace", "0", 0),
        ("--grace", "inf", math.inf),
        ("--log-level", "DEBUG", "debug"),
        ("--log", "memory", None),
        ("--log", "sqlite:C:/events.db", "C:/events.db"),
    ],
)
def test_a_good_value_is_taken(option, text, value):
    options = parse("serve", "server.py", option, text)
    assert getattr(options, option.removeprefix("--").replace("-", "_")) == value


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("--port", "65536", "a port from 0 to 65535"),
        ("--port", "http", "a port from 0 to 65535"),
        ("--port", "²", "a port from 0 to 65535"),
        ("--path", "mcp", "begins with a slash"),
        ("--log", "memory:", "must be memory, or sqlite:PATH as in sqlite:events.db"),
        ("--log", "sqlite:", "must be memory, or sqlite:PATH as in sqlite:events.db"),
        ("--log", "events.db", "must be memory, or sqlite:PATH as in sqlite:events.db"),
        ("--path", "/a b", "a plain path"),
        ("--path", "/a?b", "a plain path"),
        ("--path", "/é", "a plain path"),
        ("--idle-timeout", "0", "more than 0 seconds"),
        ("--idle-timeout", "soon", "more than 0 seconds"),
        ("--max-age", "nan", "more than 0 seconds"),
        ("--max-connections", "0", "a whole number of at least 1"),
        ("--max-sessions", "0", "a whole number of at least 1"),
        ("--max-sessions", "1.5", "a whole number of at least 1"),
        ("--grace", "-1", "0 seconds or more"),
        ("--grace", "nan", "0 seconds or more"),
        ("--log-level", "loud", "invalid choice: 'loud'"),
        ("--allow-host", "", "a name or an address"),
        ("--allow-host", "https://app.example", "a name or an address"),
        ("--allow-host", "app.example/mcp", "a name or an address"),
        ("--allow-host", "app.example:", "a name or an address"),
        ("--allow-host", "app.example:http", "a name or an address"),
        ("--allow-host", "app.example:65536", "a port from 0 to 65535, not '65536'"),
        ("--allow-host", "a.example,b.example", "a name or an address"),
        ("--allow-host", "*.example", "a name or an address"),
        ("--allow-host", "bücher.example", "a name or an address"),
        ("--allow-host", "2001:db8::1", "[::1]"),
        ("--allow-origin", "app.example", "a scheme and a host"),
        ("--allow-origin", "https://app.example/", "a scheme and a host"),
        ("--allow-origin", "https://app.example/page", "a scheme and a host"),
        ("--allow-origin", "https://user@app.example", "a scheme and a host"),
        ("--allow-origin", "https://*.example", "a scheme and a host"),
        ("--allow-origin", "null", "a scheme and a host"),
        ("--allow-origin", "*", "a scheme and a host"),
        ("--allow-origin", "https://app.example:65536", "a port from 0 to 65535, not '65536'"),
        ("--allow-origin", "https://app.example:443", "the port 443, which browsers leave out"),
        ("--allow-origin", "http://app.example:80", "the port 80, which browsers leave out"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(option, text, expected, capsys):
    with pytest.raises(SystemExit) as caught:
        parse("serve", "server.py", f"{option}={text}")
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"streamscope: error: argument {option}: ")
    assert printed.err.count("\n") == 1
    assert expected in printed.err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("app.example", "app.example"),
        ("APP.example:8443", "app.example:8443"),
        ("my_host", "my_host"),
        ("203.0.113.7", "203.0.113.7"),
        ("[2001:DB8::1]:80", "[2001:db8::1]:80"),
    ],
)
def test_a_host_to_allow(text, value):
    assert parse("serve", "server.py", "--allow-host", text).allowed_hosts == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("https://app.example", "https://app.example"),
        ("HTTP://Localhost:3000", "http://localhost:3000"),
        ("http://localhost:*", "http://localhost:*"),
        ("http://[::1]:443", "http://[::1]:443"),
        ("vscode-webview://1b2c", "vscode-webview://1b2c"),
    ],
)
def test_an_origin_to_allow(text, value):
    assert parse("serve", "server.py", "--allow-origin", text).allowed_origins == [value]


def test_hosts_and_origins_add_up():
    hosts = ("--allow-host", "a.example", "--allow-host", "b.example")
    origins = ("--allow-origin", "https://a.example", "--allow-origin", "https://b.example")
    options = parse("serve", *hosts, "server.py", *origins)
    assert options.allowed_hosts == ["a.example", "b.example"]
    assert options.allowed_origins == ["https://a.example", "https://b.example"]
    # Nothing is left of it for the next.
    assert parse("serve", "server.py").allowed_hosts == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_a_loopback_address_this_machine_is_always_let_in(host):
    listening = ("serve", "server.py", "--host", host)
    assert host_policy(parse(*listening)) == LOOPBACK_ONLY
    more = host_policy(parse(*listening, "--allow-host", "a.example", "--allow-origin", "https://b.example"))
    assert more == HostPolicy(LOOPBACK_ONLY.hosts | {"a.example"}, frozenset({"https://b.example"}))


def test_on_another_address_all_are_let_in_or_those_that_are_allowed():
    listening = ("serve", "server.py", "--host", "0.0.0.0")
    assert host_policy(parse(*listening)) == HostPolicy()
    assert host_policy(parse(*listening, "--allow-host", "a.example")) == HostPolicy(frozenset({"a.example"}))


@pytest.mark.parametrize("text", ["-1", "11", "nan", "fast"])
def test_a_bad_pace_is_refused(text, capsys):
    with pytest.raises(SystemExit) as caught:
        parse("demo", f"--pace={text}")
    assert caught.value.code == 2
    assert "a number from 0 to 10" in capsys.readouterr().err


def test_a_process_refuses_as_well():
    assert refusal("serve", "server.py", "--port", "70000").startswith("argument --port: must be a port")
    origin_only = ("--host", "0.0.0.0", "--allow-origin", "https://app.example")
    assert refusal("serve", "server.py", *origin_only).endswith("as on 0.0.0.0; give --allow-host as well")
    assert refusal("serve") == "the following arguments are required: TARGET"
    assert refusal() == "the following arguments are required: COMMAND"
    assert refusal("sreve").startswith("argument COMMAND: invalid choice: 'sreve'")


def test_hypercorn_has_bounds_of_its_own():
    options = ("--max-connections", "5", "--server", "hypercorn")
    assert refusal("serve", "server.py", *options).endswith("leave one of them out")


def test_version():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"streamscope {streamscope.__version__}\n", "")


@pytest.mark.parametrize("arguments", [(), ("serve",), ("demo",)])
def test_help_names_each_option(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*arguments, "--help")
    assert caught.value.code == 0
    expected = {
        (): ["serve", "demo", "--version"],
        ("serve",): [
            "TARGET",
            "--host",
            "--port",
            "--path",
            "--allow-host",
            "--allow-origin",
            "--idle-timeout",
            "--max-age",
            "--max-sessions",
            "--max-connections",
            "--grace",
            "--log-level",
        ],
        ("demo",): ["--record", "--pace"],
    }
    printed = capsys.readouterr().out
    assert [name for name in expected[arguments] if name not in printed] == []
