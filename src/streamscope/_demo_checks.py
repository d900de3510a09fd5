"""What the demo claims, and whether each claim was found to be true."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import final

import attrs


class Claim(enum.Enum):
    """The claims, in the order in which they are checked."""

    BOTH_ERAS = "clients of both eras are served at one path"
    LISTED = "each session and stream that is open is listed"
    PROGRESS = "each of three callers gets its own 1 to n"
    LISTENING = "a listening stream gets its own session's news"
    SUBSCRIBED = "a subscription gets only what it asked for"
    DELETED = "a deleted session answers its call: terminated"
    CLEANED_UP = "DELETE returns after the tool has cleaned up"
    CLOSED = "2026-07-28: closing the response ends the call"
    KILLED = "one stream is killed, the others go on"
    GOES_ON = "a call outlives its connection"
    RESUMED = "resumed: events 1 to n, each once and in order"
    IDLE = "a session that nothing holds ends: idle"
    SHUTDOWN = "a stop answers calls and ends subscriptions"
    BALANCED = "all that opened has closed, with a reason"
    QUIET = "the server had nothing to complain about"


@final
@attrs.frozen
class Outcome:
    """What came of one check."""

    got: object
    wanted: object

    @property
    def passed(self) -> bool:
        """Whether the claim is true."""
        return self.got == self.wanted


@final
class Checks:
    """The outcomes so far."""

    def __init__(self) -> None:
        self._outcomes: dict[Claim, Outcome] = {}

    @property
    def outcomes(self) -> Mapping[Claim, Outcome]:
        """The claims that were checked, with what came of it."""
        return self._outcomes

    @property
    def count(self) -> int:
        """The number of claims that were found to be true."""
        return sum(outcome.passed for outcome in self._outcomes.values())

    @property
    def passed(self) -> bool:
        """Whether every claim was checked and found to be true."""
        return self.count == len(Claim)

    def expect(self, claim: Claim, got: object, wanted: object) -> Outcome:
        """Check a claim, by comparing what was found with what it promises."""
        assert claim not in self._outcomes, f"{claim} was checked already"
        outcome = self._outcomes[claim] = Outcome(got, wanted)
        return outcome
