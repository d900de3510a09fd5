"""The matrix: which clients there are, in which eras of the protocol, and what they are to do."""

from __future__ import annotations

from typing import Final, Literal

import attrs

HANDSHAKE: Final = "handshake"
MODERN: Final = "2026-07-28"

_BOTH: Final = {
    "list": "list tools",
    "call": "call a tool",
    "parallel": "20 calls at once",
    "progress": "progress of a call",
    "error": "an error after progress",
    "elicitation": "elicitation",
    "sampling": "sampling",
    "roots": "roots",
    "logging": "log messages",
    "cancel": "cancel a call",
}

OPERATIONS: Final[dict[str, dict[str, str]]] = {
    HANDSHAKE: {
        "open": "initialize",
        **_BOTH,
        "listening": "list_changed on the GET stream",
        "asking aside": "roots, asked for on the GET stream",
        "resuming a call": "a call, its connection cut",
        "resuming to listen": "the GET stream, its connection cut",
        "terminate": "DELETE the session",
        "shutdown": "a call when the server stops",
        "clean": "nothing refused, no error logged",
    },
    MODERN: {
        "open": "discover",
        **_BOTH,
        "listening": "subscribe, list_changed arrives",
        "unlistening": "close the subscription",
        "shutdown": "a subscription when the server stops",
        "clean": "no session, nothing refused, no error logged",
    },
}


@attrs.frozen
class Client:
    """A client in one of its eras, and what drives it."""

    name: str
    package: str
    era: str
    driver: str
    arguments: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Names it on the command line and in file names."""
        return f"{self.name}-{self.era}"

    @property
    def needs_node(self) -> bool:
        """Whether it runs on Node.js."""
        return self.driver.endswith(".mjs")


CLIENTS: Final = [
    Client(name, package, era, driver, arguments)
    for era in OPERATIONS
    for name, package, driver, arguments in [
        ("mcp-trio", "mcp, on Trio", "python_sdk", ("trio",)),
        ("mcp-asyncio", "mcp, on asyncio", "python_sdk", ("asyncio",)),
        ("fastmcp", "fastmcp", "fastmcp_client", ()),
        ("ts-client", "@modelcontextprotocol/client", "ts_client.mjs", ()),
        ("ts-sdk", "@modelcontextprotocol/sdk", "ts_sdk.mjs", ()),
        ("inspector", "@modelcontextprotocol/inspector", "inspector.mjs", ()),
    ]
    # Its newest revision is 2025-11-25.
    if (name, era) != ("ts-sdk", MODERN)
]


@attrs.frozen
class Outcome:
    """What came of one operation."""

    status: Literal["pass", "fail", "n.a."]
    detail: str = ""


@attrs.define
class Run:
    """What came of one client."""

    client: Client
    about: str = "?"
    runtime: str = "?"
    protocol: str = "?"
    outcomes: dict[str, Outcome] = attrs.Factory(dict)
    wire: str = ""
    log: str = ""

    def settle(self, why: str) -> None:
        """Put the outcomes in order. What was not reported has failed."""
        reported = self.outcomes
        self.outcomes = {
            name: reported.get(name, Outcome("fail", why)) for name in (*OPERATIONS[self.client.era], *reported)
        }

    @property
    def failures(self) -> dict[str, str]:
        """The operations that failed, with the reasons."""
        return {name: outcome.detail for name, outcome in self.outcomes.items() if outcome.status == "fail"}
