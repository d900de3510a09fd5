"""A small run of the chaos; ``nox -s chaos`` has a large one."""

from __future__ import annotations

import argparse

from tests.chaos.run import perform
from tests.mcp.conftest import LEFT_BEHIND

pytestmark = LEFT_BEHIND


async def test_no_event_is_lost():
    tally = await perform(argparse.Namespace(seed=20, seconds=5.0, clients=3, streams=2, kills=2))
    # What was wrong has been raised. None has had to open another session, and nothing was too old.
    assert (tally.sessions, tally.gaps) == (3, 0)
    assert tally.events > 0
