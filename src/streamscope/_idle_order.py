"""Which session would be the first to idle out."""

from __future__ import annotations

from collections import OrderedDict
from typing import final

from ._records import SessionRecord


@final
class IdleOrder:
    """The sessions that nothing holds, with the one first that will be the first to idle out.

    Sessions with the same time-out are kept in the order in which it began to
    count. So the first of all is the first of one of these queues, of which
    there are as many as there are different time-outs: a few.
    """

    def __init__(self) -> None:
        self._queues: dict[float, OrderedDict[SessionRecord, None]] = {}

    def add(self, record: SessionRecord, now: float, timeout: float) -> None:
        """Put a session in, or put it last where it is in, because its time-out counts from now."""
        if record.idle_timeout != timeout:
            self.remove(record)
        record.idle_since, record.idle_timeout = now, timeout
        queue = self._queues.setdefault(timeout, OrderedDict())
        queue[record] = None
        queue.move_to_end(record)

    def remove(self, record: SessionRecord) -> None:
        """Take a session out, because something holds it. Idempotent."""
        if record.idle_since is not None:
            record.idle_since = None
            queue = self._queues[record.idle_timeout]
            del queue[record]
            if not queue:
                del self._queues[record.idle_timeout]

    def first(self) -> SessionRecord | None:
        """Return the session that will be the first to idle out, or ``None`` where all are held."""
        firsts = [next(iter(queue)) for queue in self._queues.values()]
        return min(firsts, key=lambda record: record.idles_out, default=None)
