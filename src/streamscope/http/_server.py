"""Serving an application on listeners, from its start to an orderly stop."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from typing import Any, Final, TypeVar, final

import trio

from ._connection import IDLE_ROUNDS, Connection, Service
from ._errors import LifespanError
from ._exchange import Application
from ._lifespan import Lifespan
from ._limits import HTTPLimits
from ._response import Response
from ._transport import LINGER, open_transport

logger: Final = logging.getLogger("streamscope.http")

# What accept() says when the process or the system has as many sockets as it can have.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

ListenerT = TypeVar("ListenerT", bound=trio.abc.Listener[Any])


async def serve(
    app: Application,
    listeners: Sequence[ListenerT],
    *,
    limits: HTTPLimits | None = None,
    root_path: str = "",
    stop: trio.Event | None = None,
    grace: float = 5.0,
    task_status: trio.TaskStatus[list[ListenerT]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application over HTTP/1.1, until it is told to stop or is cancelled.

    Each connection is a task, and the application runs in that task, one request after the other.

    An orderly stop closes the listeners and the connections that are without a request. Requests under
    way have ``grace`` seconds to be answered, with ``Connection: close``; then they are cancelled. The
    application's lifespan ends after the last of them. To cancel this function stops all of it at once.

    Args:
        app: The application, in the single-callable style of ASGI 3. If it raises an exception for the scope
            ``lifespan``, it is served without one.
        listeners: What to listen on, such as `trio.open_tcp_listeners` and `trio.open_ssl_over_tcp_listeners`
            return. They are closed in the end.
        limits: How many, how large, how long.
        root_path: The prefix of all paths that a proxy has taken away.
        stop: Set it to stop.
        grace: Seconds that an orderly stop may take.
        task_status: For ``nursery.start(serve, ...)``: started with the listeners, once requests are accepted.

    Raises:
        LifespanError: The application says that it cannot start, or that it could not end in order.
        ExceptionGroup: A listener failed, or the application's lifespan did while it was served.
    """
    lifespan = Lifespan(app)
    service = Service(app=app, limits=limits or HTTPLimits(), root_path=root_path, state=lifespan.state)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lifespan.run)
            await lifespan.settled.wait()
            if lifespan.failure is None:
                server = _Server(service)
                await server.serve(listeners, trio.Event() if stop is None else stop, grace, task_status)
            lifespan.stop()
    finally:
        with trio.CancelScope(shield=True, relative_deadline=LINGER):  # noqa: ASYNC912 - nothing to wait for, no wait
            for listener in listeners:
                await trio.aclose_forcefully(listener)
    if lifespan.failure is not None:
        raise LifespanError(lifespan.failure)


@final
class _Server:
    """Accepts connections, and knows those that are open."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._connections: set[Connection] = set()

    async def serve(
        self,
        listeners: Sequence[ListenerT],
        stop: trio.Event,
        grace: float,
        task_status: trio.TaskStatus[list[ListenerT]],
    ) -> None:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept, listener, connections)
                accepting.start_soon(self._close_idle)
                task_status.started(list(listeners))
                await stop.wait()
                accepting.cancel_scope.cancel(reason="the server is stopping")
            for connection in self._connections:
                connection.stop()
            connections.cancel_scope.deadline = trio.current_time() + grace

    async def _accept(self, listener: trio.abc.Listener[Any], connections: trio.Nursery) -> None:
        async with listener:
            exhausted = False
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _EXHAUSTED:
                        raise
                    if not exhausted:
                        logger.error("No more connections can be accepted for now: %s", error)  # noqa: TRY400 - no defect
                    exhausted = True
                    # Until some have been closed. Those who connect meanwhile wait.
                    await trio.sleep(0.1)
                else:
                    exhausted = False
                    self._admit(stream, connections)

    def _admit(self, stream: trio.abc.Stream, connections: trio.Nursery) -> None:
        if len(self._connections) >= self._service.limits.max_connections:
            connections.start_soon(self._turn_away, stream, name="an HTTP connection too many")
            return
        # The task has the connection, and not the stream, of which nothing is needed any more.
        connection = Connection(stream, self._service)
        self._connections.add(connection)
        connections.start_soon(self._serve_one, connection, name="an HTTP connection")

    async def _close_idle(self) -> None:
        """Close the connections that have been without a request for too long, a tenth late at most.

        One task does that for all. A deadline for each, moved with each request, costs as much as all the
        rest of a small one.
        """
        timeout = self._service.limits.idle_timeout
        while True:
            await trio.sleep(timeout / IDLE_ROUNDS)
            for connection in self._connections:
                connection.grow_older()

    async def _serve_one(self, connection: Connection) -> None:
        try:
            await connection.serve()
        except Exception:
            # A defect that one client can reach must not be the end of all others.
            logger.exception("A connection was closed because of a defect of the server")
        finally:
            self._connections.discard(connection)

    async def _turn_away(self, stream: trio.abc.Stream) -> None:
        transport = open_transport(stream, LINGER)
        answer = Response("GET", "1.1", keep_alive=False).whole(503, "This server has too many connections")
        try:
            with trio.move_on_after(LINGER):
                await transport.send(answer)
        except trio.BrokenResourceError:
            transport.abort()
        finally:
            await transport.close(linger=True)  # noqa: ASYNC102 - closes at once where it is cancelled
