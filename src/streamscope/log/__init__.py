"""Event logs that survive the process.

`open_sqlite_log` needs nothing but Python.
"""

from __future__ import annotations

from .._util import repair_module_names as _repair_module_names
from ._errors import EventLogBusyError as EventLogBusyError
from ._errors import EventLogCorruptError as EventLogCorruptError
from ._errors import EventLogForeignError as EventLogForeignError
from ._errors import EventLogMissingError as EventLogMissingError
from ._errors import EventLogOpenError as EventLogOpenError
from ._errors import EventLogVersionError as EventLogVersionError
from ._open import open_sqlite_log as open_sqlite_log

_repair_module_names(globals(), [name for name in dir() if not name.startswith("_")])
