"""A server on a real socket, in a thread of its own, with sessions in it that are to go on whatever comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import trio

from streamscope import SessionId, SessionManager, open_session_manager
from streamscope.mcp import serve
from tests.fuzz import wire
from tests.fuzz.checks import check, check_answers
from tests.fuzz.responses import Response
from tests.fuzz.server import server
from tests.fuzz.shots import Shot
from tests.fuzz.sound import BASE, SESSIONS, in_session, post
from tests.fuzz.wire import Framed, Talk
from tests.fuzz.world import check_nothing_left
from tests.mcp.helpers import call, initialize, notification


def user_of(scope: Any) -> str | None:
    """Believe whatever name a client gives."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-user"), None)


class Running:
    """A server that is up, and what its clients know."""

    def __init__(self, port: int, sessions: SessionManager) -> None:
        self.address = ("127.0.0.1", port)
        self.sessions = sessions
        self.names: dict[bytes, bytes] = {}
        self._whispered = 0
        self._listener: wire.Listener | None = None

    def get(self, shot: Shot) -> Response:
        """Make a request that is sound, and see it answered."""
        (response,) = wire.hold(Talk((Framed("length", shot),)), self.address, self.names)
        check(response)
        assert response.status in {200, 202}, bytes(response.body)
        return response

    def settle(self) -> None:
        """Have the sessions that requests name, anew where one has ended."""
        for name, (version, user) in SESSIONS.items():
            if not self._is_open(name):
                opened = self.get(post(initialize(version, roots={}), user=user))
                self.names[name.encode()] = opened.headers["mcp-session-id"].encode()
                self.get(post(notification("notifications/initialized"), *in_session(name), user=user))
                for stream, session in (("$finished", "$mine"), ("$theirs", "$foreign")):
                    if name == session:
                        counted = self.get(post(call("count", {"n": 2}), *in_session(name), user=user))
                        self.names[stream.encode()] = counted.stream_id
                if name == "$ended":
                    self.get(Shot(method="DELETE", headers=BASE + in_session(name)))
        if self._listener is None:
            shot = Shot(method="GET", headers=BASE + in_session("$old"))
            self._listener = wire.Listener(shot, self.address, self.names)

    def _is_open(self, name: str) -> bool:
        known = self.names.get(name.encode())
        if known is None or name in {"$ended", "$old"}:
            return known is not None
        return any(session.session_id == SessionId(known.decode()) for session in self.sessions.list_sessions())

    def check_answers(self, response: Response) -> None:
        """Check that each request was answered once; if need be by coming back for the answer."""
        if response.can_resume and not response.answers:
            (rest,) = wire.hold(Talk((Framed("length", response.resume()),)), self.address, self.names)
            if rest.status == 404:
                # The session has been deleted meanwhile.
                return
            assert rest.status == 200, bytes(rest.body)
            response.body += rest.body
        check_answers(response)

    def check_survivor(self) -> None:
        """Check that the session that nobody names goes on as if nothing had been."""
        assert self._listener is not None
        self._whispered += 1
        text = f"whispered {self._whispered}"
        self.get(post(call("whisper", {"text": text}), *in_session("$old")))
        self._listener.until(text.encode())

    def check_quiet(self) -> None:
        """Check that soon nothing is left but listening streams, which wait for their clients."""
        deadline = time.monotonic() + wire.PATIENCE
        while left := [stream for stream in self.sessions.streams.list_streams() if stream.kind != "get"]:
            assert time.monotonic() < deadline, left
            time.sleep(0.01)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()


@contextmanager
def running() -> Iterator[Running]:
    """Serve for the length of a block; then make sure that all is over."""
    ready = threading.Event()
    made: list[tuple[int, SessionManager, trio.Event, trio.lowlevel.TrioToken]] = []

    async def main() -> None:
        async with open_session_manager() as sessions, trio.open_nursery() as nursery:
            stop = trio.Event()
            # By its pings, a server notes the end of a client whose last requests it has not begun to read.
            options: Any = {"ping_interval": 0.3, "body_timeout": 0.3, "listen_grace": 1, "principal": user_of}
            url = await nursery.start(
                partial(serve, server, sessions, port=0, stop=stop, handle_signals=False, **options)
            )
            made.append((int(url.split(":")[2].split("/")[0]), sessions, stop, trio.lowlevel.current_trio_token()))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    assert ready.wait(wire.PATIENCE)
    ((port, sessions, stop, token),) = made
    served = Running(port, sessions)
    try:
        yield served
        served.check_quiet()
    finally:
        served.close()
        trio.from_thread.run_sync(stop.set, trio_token=token)
        thread.join(wire.PATIENCE)
    assert not thread.is_alive()
    check_nothing_left(sessions)
