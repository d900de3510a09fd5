"""Python's garbage collector, while a server runs.

A call leaves no garbage of ours, and the collector does not know that. It starts
when so many more objects were made than have gone, 700 by default. A thousand
calls under way are a hundred thousand objects, so it starts all the time, finds
them all alive, and now and then looks at everything that is open besides.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def collecting_after(objects: int) -> Generator[None]:
    """Have the collector start only after so many new objects, in a block.

    It is the process's only one, so whoever else sets it meanwhile is overruled at the end.

    Args:
        objects: How many; with 0 it does not start by itself.
    """
    before = gc.get_threshold()
    gc.set_threshold(objects, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
