"""Producers that are cancelled, a disk that is full now and then, and a log that drops and forgets."""

from __future__ import annotations

import math
import random
from contextlib import suppress

import pytest
import trio

from streamscope import EventLogFailedError, SessionId, StreamId
from streamscope.abc import EventLog
from streamscope.log import open_sqlite_log
from tests.log.helpers import contents, limit_pages, settle

SESSION = SessionId("session")
PRODUCERS = 4
STREAMS = 3


class Witness:
    """Knows what was acknowledged of a stream, and checks what a reader sees."""

    def __init__(self, log: EventLog) -> None:
        self.stream_id = StreamId.new()
        self.stream = log.open_stream(SESSION, self.stream_id)
        self.tried: set[bytes] = set()
        self.acknowledged: dict[int, bytes] = {}
        self.read: list[bytes] = []

    async def follow(self) -> None:
        """Read to the end, as a reader does."""
        news = trio.Event()

        def wake() -> None:
            news.set()

        self.stream.attach(wake)
        finished = False
        while not finished:
            news = trio.Event()
            batch = await self.stream.read(len(self.read), 5)
            assert [event.seq for event in batch.events] == [len(self.read) + 1 + i for i in range(len(batch.events))]
            self.read += [event.data for event in batch.events]
            finished = batch.finished
            if not batch.events and not finished:
                await news.wait()

    def check(self, stored: list[bytes]) -> None:
        assert stored == self.read
        assert len(set(stored)) == len(stored), "an event is there twice"
        assert set(stored) <= self.tried
        assert {seq: stored[seq - 1] for seq in self.acknowledged} == self.acknowledged


async def produce(witness: Witness, dice: random.Random, name: int) -> None:
    for count in range(25):
        data = b"%d.%d." % (name, count) + bytes(dice.choice((0, 0, 0, 3000)))
        witness.tried.add(data)
        with suppress(EventLogFailedError, trio.WouldBlock):
            if dice.random() < 0.2:
                witness.stream.append_nowait(data)
            else:
                with trio.move_on_after(dice.choice((0.001, 0.003, math.inf, math.inf))):
                    witness.acknowledged[await witness.stream.append(data)] = data
        for _ in range(dice.randrange(4)):
            await trio.lowlevel.checkpoint()


async def fill_the_disk(log: EventLog, dice: random.Random) -> None:
    while True:
        limit_pages(log, 0)
        await trio.sleep(dice.random() * 0.01)
        limit_pages(log, 100_000)
        await trio.sleep(dice.random() * 0.03)


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_that_was_acknowledged_is_lost(tmp_path, caplog, seed):
    dice = random.Random(seed)
    path = tmp_path / "log.db"
    async with open_sqlite_log(path, max_pending=dice.choice((3, 100)), max_recent_bytes=5000) as log:
        witnesses = [Witness(log) for _ in range(STREAMS)]
        await settle(log)
        async with trio.open_nursery() as nursery:
            for witness in witnesses:
                nursery.start_soon(witness.follow)
            async with trio.open_nursery() as disk:
                disk.start_soon(fill_the_disk, log, dice)
                async with trio.open_nursery() as producers:
                    for witness in witnesses:
                        for name in range(PRODUCERS):
                            producers.start_soon(produce, witness, dice, name)
                disk.cancel_scope.cancel()
            limit_pages(log, 100_000)
            for witness in witnesses:
                witness.stream.finish()
    async with open_sqlite_log(path) as log:
        for witness in witnesses:
            witness.check(await contents(await log.find_stream(SESSION, witness.stream_id)))
            assert witness.acknowledged
