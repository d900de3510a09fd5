"""Sessions and streams as Trio scopes, for MCP servers that lose nothing and leave nothing behind."""

from __future__ import annotations

from . import abc as abc
from ._changes import Change as Change
from ._changes import ChangesMissed as ChangesMissed
from ._changes import ReaderAttached as ReaderAttached
from ._changes import ReaderDetached as ReaderDetached
from ._changes import SessionClosed as SessionClosed
from ._changes import SessionOpened as SessionOpened
from ._changes import StreamClosed as StreamClosed
from ._changes import StreamOpened as StreamOpened
from ._errors import EventLogError as EventLogError
from ._errors import EventLogFailedError as EventLogFailedError
from ._errors import EventsExpiredError as EventsExpiredError
from ._errors import EventTooLargeError as EventTooLargeError
from ._errors import LimitError as LimitError
from ._errors import ManagerClosedError as ManagerClosedError
from ._errors import ReaderClosedError as ReaderClosedError
from ._errors import SessionClosedError as SessionClosedError
from ._errors import SessionLimitError as SessionLimitError
from ._errors import StreamClosedError as StreamClosedError
from ._errors import StreamLimitError as StreamLimitError
from ._errors import UnknownEventError as UnknownEventError
from ._errors import UnknownSessionError as UnknownSessionError
from ._errors import UnknownStreamError as UnknownStreamError
from ._errors import WrongThreadError as WrongThreadError
from ._feed import Watcher as Watcher
from ._ids import EventId as EventId
from ._ids import SessionId as SessionId
from ._ids import StreamId as StreamId
from ._ids import configure_converter as configure_converter
from ._limits import LimitOptions as LimitOptions
from ._limits import Limits as Limits
from ._manager import SessionManager as SessionManager
from ._memory import MemoryEventLog as MemoryEventLog
from ._metadata import SessionMetadata as SessionMetadata
from ._metadata import StreamMetadata as StreamMetadata
from ._open import open_session_manager as open_session_manager
from ._reader import EventReader as EventReader
from ._reasons import CloseReason as CloseReason
from ._reasons import State as State
from ._session import Session as Session
from ._slow_readers import SlowReaders as SlowReaders
from ._statistics import EventLogStatistics as EventLogStatistics
from ._statistics import SessionManagerStatistics as SessionManagerStatistics
from ._statistics import StreamManagerStatistics as StreamManagerStatistics
from ._stream import Stream as Stream
from ._streams import StreamManager as StreamManager
from ._util import repair_module_names as _repair_module_names
from ._version import __version__ as __version__
from ._window import Event as Event

_repair_module_names(globals(), [name for name in dir() if not name.startswith("_")])
