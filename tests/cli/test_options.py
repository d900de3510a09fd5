"""What is typed, before anything runs: values, versions, help."""

from __future__ import annotations

import math

import pytest

import streamscope
from streamscope._cli import make_parser
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
        ("--grace", "0", 0),
        ("--grace", "inf", math.inf),
        ("--log-level", "DEBUG", "debug"),
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
        ("--path", "/a b", "a plain path"),
        ("--path", "/a?b", "a plain path"),
        ("--path", "/é", "a plain path"),
        ("--idle-timeout", "0", "more than 0 seconds"),
        ("--idle-timeout", "soon", "more than 0 seconds"),
        ("--max-age", "nan", "more than 0 seconds"),
        ("--max-sessions", "0", "a whole number of at least 1"),
        ("--max-sessions", "1.5", "a whole number of at least 1"),
        ("--grace", "-1", "0 seconds or more"),
        ("--grace", "nan", "0 seconds or more"),
        ("--log-level", "loud", "invalid choice: 'loud'"),
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


@pytest.mark.parametrize("text", ["-1", "11", "nan", "fast"])
def test_a_bad_pace_is_refused(text, capsys):
    with pytest.raises(SystemExit) as caught:
        parse("demo", f"--pace={text}")
    assert caught.value.code == 2
    assert "a number from 0 to 10" in capsys.readouterr().err


def test_a_process_refuses_as_well():
    assert refusal("serve", "server.py", "--port", "70000").startswith("argument --port: must be a port")
    assert refusal("serve") == "the following arguments are required: TARGET"
    assert refusal() == "the following arguments are required: COMMAND"
    assert refusal("sreve").startswith("argument COMMAND: invalid choice: 'sreve'")


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
            "--idle-timeout",
            "--max-age",
            "--max-sessions",
            "--grace",
            "--log-level",
        ],
        ("demo",): ["--record", "--pace"],
    }
    printed = capsys.readouterr().out
    assert [name for name in expected[arguments] if name not in printed] == []
