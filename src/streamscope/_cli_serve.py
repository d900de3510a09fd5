"""``streamscope serve``: a server of somebody else's, until a signal stops it."""

from __future__ import annotations

import argparse
import errno
import logging
import socket
import sys
from contextlib import nullcontext
from functools import partial
from typing import Final

import trio

from ._changes import (
    Change,
    ChangesMissed,
    ReaderAttached,
    ReaderDetached,
    SessionClosed,
    SessionOpened,
    StreamClosed,
    StreamOpened,
)
from ._cli_errors import CannotStartError, TargetRaisedError, foreign_part, leaves, only_interrupts
from ._cli_target import load
from ._open import open_session_manager
from .abc import Instrument
from .http import HTTPLimits
from .log import EventLogOpenError, open_sqlite_log
from .mcp import HostPolicy, serve
from .mcp._seam import AnyServer
from .mcp._wire import default_hosts

logger: Final = logging.getLogger("streamscope")
_NO_LISTENING: Final = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EAFNOSUPPORT})


class ChangeLog(Instrument):
    """Logs each session, stream and reader that comes or goes. Identifiers of sessions are secrets: it has none."""

    def changed(self, change: Change) -> None:
        """Log a change."""
        match change:
            case SessionOpened(session):
                logger.debug("session opened, from %s", session.connection_info)
            case SessionClosed(session, reason):
                logger.debug("session closed after %.1f s: %s", session.age, reason)
            case StreamOpened(stream):
                logger.debug("stream %s (%s) opened", stream.stream_id, stream.kind)
            case StreamClosed(stream, reason):
                logger.debug("stream %s closed after %d events: %s", stream.stream_id, stream.event_count, reason)
            case ReaderAttached(_, position):
                logger.debug("reader attached at %s", position)
            case ReaderDetached(_, position, reason):
                logger.debug("reader detached at %s: %s", position, reason)
            case ChangesMissed():
                pass


def run(options: argparse.Namespace) -> int:
    """Serve the target, and return the exit status.

    Raises:
        CannotStartError: It cannot be served, or not there, or its events cannot be kept there.
        TargetRaisedError: Its module raised an exception.
    """
    # Before the target is imported: an MCPServer sets logging up where nobody has.
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)-8s %(message)s", stream=sys.stderr
    )
    hosts = host_policy(options)
    if options.max_connections is not None and options.server == "hypercorn":
        raise CannotStartError("--max-connections does nothing with --server hypercorn; leave one of them out")
    server = load(options.target)
    try:
        trio.run(_serve, server, hosts, options)
    except (Exception, BaseExceptionGroup) as exc:
        # Nurseries wrap it in groups.
        match leaves(exc):
            case [EventLogOpenError() as error]:
                raise CannotStartError(str(error)) from None
            case [error] if foreign_part(error) is not None and not only_interrupts(error):
                raise TargetRaisedError(error, f"{options.target} has failed") from None
            case [OSError() as error] if isinstance(error, socket.gaierror) or error.errno in _NO_LISTENING:
                where = f"{options.host} port {options.port}"
                raise CannotStartError(f"cannot listen on {where}: {error.strerror or error}") from None
            case _:
                raise
    return 0


def host_policy(options: argparse.Namespace) -> HostPolicy:
    """Say which requests are let in: those for hosts that are allowed, and by default for this machine.

    Raises:
        CannotStartError: There are no hosts besides which an origin could be allowed.
    """
    hosts = frozenset(options.allowed_hosts) | (default_hosts(options.host).hosts or frozenset())
    if options.allowed_origins and not hosts:
        raise CannotStartError(
            f"--allow-origin does nothing where all origins are let in, as on {options.host}; give --allow-host as well"
        )
    return HostPolicy(hosts or None, frozenset(options.allowed_origins))


async def _serve(server: AnyServer, hosts: HostPolicy, options: argparse.Namespace) -> None:
    async with (
        nullcontext() if options.log is None else open_sqlite_log(options.log) as log,
        open_session_manager(
            log=log,
            instruments=(ChangeLog(),) if logger.isEnabledFor(logging.DEBUG) else (),
            idle_timeout=options.idle_timeout,
            max_age=options.max_age,
            max_sessions=options.max_sessions,
        ) as sessions,
        trio.open_nursery() as nursery,
    ):
        url = await nursery.start(
            partial(
                serve,
                server,
                sessions,
                host=options.host,
                port=options.port,
                path=options.path,
                grace=options.grace,
                hosts=hosts,
                http_server=options.server,
                http_limits=(
                    None if options.max_connections is None else HTTPLimits(max_connections=options.max_connections)
                ),
            )
        )
        if hosts.hosts is None:
            logger.warning("Host and Origin are not checked on %s; --allow-host has them checked", options.host)
        print(url, flush=True)
    seen = sessions.statistics()
    logger.info("stopped; served %d sessions and %d streams", seen.opened_sessions, seen.streams.opened_streams)
