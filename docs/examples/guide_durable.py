"""A durable log: what a process has stored, the next one finds."""

import tempfile
from pathlib import Path

import trio

from streamscope import SessionId, StreamId
from streamscope.log import EventLogBusyError, open_sqlite_log

session_id, stream_id = SessionId.new(), StreamId.new()


async def first_process(path: Path) -> None:
    async with open_sqlite_log(path) as log:
        stream = log.open_stream(session_id, stream_id)
        stream.set_will([b"the server has stopped"])
        # Each of them is on the disk when this returns.
        print("stored", await stream.append(b"half of the answer"))
        try:
            async with open_sqlite_log(path):
                pass
        except EventLogBusyError as exc:
            print(type(exc).__name__)
        # The process ends before the stream does.


async def next_process(path: Path) -> None:
    async with open_sqlite_log(path) as log:
        stream = await log.find_stream(session_id, stream_id)
        batch = await stream.read(after=0, limit=100)
        for event in batch.events:
            print(event.seq, event.data)
        print("finished" if batch.finished else "goes on")


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.db"
        await first_process(path)
        await next_process(path)


if __name__ == "__main__":
    trio.run(main)
