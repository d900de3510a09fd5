"""What tests of applications, and of implementations of `streamscope.abc`, need.

Everything here runs under any test runner: these are plain functions, which run
under Trio where they are asynchronous, and raise `AssertionError` with a
message, also under ``python -O``.
"""

from __future__ import annotations

from .._util import repair_module_names as _repair_module_names
from ._check_event_log import check_event_log as check_event_log
from ._leftovers import assert_no_leftovers as assert_no_leftovers

_repair_module_names(globals(), [name for name in dir() if not name.startswith("_")])
