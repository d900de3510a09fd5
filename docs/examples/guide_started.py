"""Sessions and streams that outlive whoever asked for them."""

import trio

import streamscope
from streamscope import Session, SessionId, SessionManager, Stream


async def count(stream: Stream, stop: int) -> None:
    """The body of a stream: the stream lives exactly as long as this runs."""
    for number in range(1, stop + 1):
        await trio.sleep(0.1)
        await stream.send(str(number).encode())


async def handle_hello(sessions: SessionManager) -> SessionId:
    """Open a session and return, as the handler of a request would."""
    session = await sessions.start_session(principal="alice")
    return session.id


async def handle_count(session: Session) -> None:
    """Start some work, read a part of what it produces, and lose interest."""
    stream = await session.start_stream(count, 3, kind="count")
    async with session.open_reader(stream.id) as reader:
        print(await reader.receive())
    # The stream goes on. Whoever comes back says what it has already:
    async with session.open_reader(stream.id, after=1) as reader:
        async for event in reader:
            print(event)


async def main() -> None:
    async with streamscope.open_session_manager() as sessions:
        session_id = await handle_hello(sessions)
        await handle_count(sessions.get_session(session_id, principal="alice"))
        await sessions.drain(grace=10)


if __name__ == "__main__":
    trio.run(main)
