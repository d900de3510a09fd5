"""Looking from other threads, and changing things from them."""

import trio

import streamscope
from streamscope import CloseReason, SessionManager, WrongThreadError


def report(sessions: SessionManager) -> None:
    """Any thread may look."""
    for stream in sessions.streams.list_streams():
        print("open:", stream.kind, stream.state.value)


def end_all(sessions: SessionManager) -> None:
    """Only the thread that runs Trio may change."""
    try:
        sessions.streams.cleanup_inactive_streams(0)
    except WrongThreadError as exc:
        print(f"{type(exc).__name__}: {exc}")
    trio.from_thread.run_sync(sessions.close, CloseReason.KILLED)


async def main() -> None:
    async with streamscope.open_session_manager() as sessions:
        async with sessions.open_session() as session, session.open_stream():
            await trio.to_thread.run_sync(report, sessions)
            await trio.to_thread.run_sync(end_all, sessions)
            await trio.sleep(3600)
        print("ended:", session.reason)


if __name__ == "__main__":
    trio.run(main)
