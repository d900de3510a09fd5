"""A session, a stream, an event, a reader."""

import trio

from streamscope import open_session_manager


async def main() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream(kind="greeting") as stream:
            await stream.send(b"hello")
            print("inside:", sessions.streams.is_stream_active(stream.id))
        print("outside:", sessions.streams.is_stream_active(stream.id))

        async with session.open_reader(stream.id) as reader:
            async for event in reader:
                print(event)


if __name__ == "__main__":
    trio.run(main)
