"""What becomes of readers that do not keep up, in one value."""

from __future__ import annotations

from typing import final

import attrs

from ._util import validate_delay


@final
@attrs.frozen(kw_only=True)
class SlowReaders:
    """What becomes of a stream's readers that do not keep up with it.

    A stream keeps its newest events. A reader is slow where the next event would push out one that the
    reader has not received yet, and is overtaken where it has. By default nobody waits for a slow reader,
    and one that is overtaken is told so, and may come back.
    """

    wait: float = attrs.field(default=0.0, validator=validate_delay)
    """Seconds that `Stream.send` waits for a slow reader that does not move. `math.inf` for as long as it takes."""

    return_within: float = attrs.field(default=0.0, validator=validate_delay)
    """Seconds that `Stream.send` waits for a reader that has left, and may come back for what it has missed. It may ask
    again for what was on its way to it, so no more than half of what is kept waits to be received."""

    skip: bool = False
    """Whether a reader that is overtaken goes on with the oldest event there is, as `EventReader.skipped` tells.
    Otherwise it gets `EventsExpiredError`."""
