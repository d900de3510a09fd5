"""The command line: ``streamscope serve`` and ``streamscope demo``.

Exit statuses, for whoever starts it from a script: 0, it did what it was asked
to, also when a signal has stopped it cleanly; 1, something failed while it ran,
or in the module that was to be served, and standard error has the traceback;
2, it could not begin, and standard error has one line that says why; 130,
Ctrl-C before there was anything to stop.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from ._cli_errors import (
    FAILED,
    INTERRUPTED,
    MISUSED,
    CannotStartError,
    TargetRaisedError,
    import_extra,
    only_interrupts,
)
from ._cli_options import add_serve_options, pace
from ._version import __version__

PROGRAM: Final = "streamscope"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISUSED, f"{PROGRAM}: error: {message}\n")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    parser = _Parser(
        prog=PROGRAM,
        description="Sessions and SSE streams of MCP servers as Trio scopes.",
        epilog=f"`{PROGRAM} COMMAND --help` tells more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    serve = commands.add_parser(
        "serve",
        help="serve an MCP server over Streamable HTTP",
        description="Serve an MCP server of the official SDK over Streamable HTTP, until Ctrl-C or SIGTERM. "
        "The endpoint's URL is printed on standard output; the log goes to standard error.",
    )
    add_serve_options(serve)

    demo = commands.add_parser(
        "demo",
        help="watch sessions and streams of a real server, and check what they promise",
        description="Start a server on a free port of this machine, use it with clients of the official SDK, "
        "show its sessions and streams, and check what streamscope promises. Exits with 0 only if all of it is true.",
    )
    demo.add_argument("--record", metavar="FILE.svg", help="write a picture of the display, taken in the middle")
    demo.add_argument(
        "--pace",
        type=pace,
        default=1.0,
        metavar="FACTOR",
        help="how long to linger where only an onlooker needs it (default: 1)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status.

    Args:
        arguments: What follows the program's name; those of this process if not given.
    """
    options = make_parser().parse_args(arguments)
    try:
        import_extra("streamscope.mcp", "mcp")
        if options.command == "serve":
            from ._cli_serve import run as run_serve

            return run_serve(options)
        from ._demo import run as run_demo

        return run_demo(options)
    except CannotStartError as exc:
        print(f"{PROGRAM}: error: {exc}", file=sys.stderr)
        return MISUSED
    except TargetRaisedError as exc:
        exc.show()
        return FAILED
    except (KeyboardInterrupt, BaseExceptionGroup) as exc:
        if only_interrupts(exc):
            return INTERRUPTED
        raise
