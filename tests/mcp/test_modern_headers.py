"""2026-07-28: a request and its headers agree, or it is refused."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import Annotated, Any

import mcp_types as types
import pytest
from mcp.server import Server
from pydantic import Field

from tests.mcp.demo import Demo
from tests.mcp.helpers import MODERN, envelope, peering, serving
from tests.mcp.raw import Connection

META = "io.modelcontextprotocol/"
MISMATCH = -32020


@asynccontextmanager
async def client_of(server):
    async with serving(server) as served, peering(served.url) as peer:
        yield peer


def refused(response, code, status=400, request_id=1):
    assert response.status_code == status, response.text
    body = response.json()
    assert (body["id"], body["error"]["code"]) == (request_id, code)
    return body["error"]


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"mcp_protocol_version": None}, "mcp-protocol-version"),
        ({"mcp_protocol_version": "2027-01-01"}, "mcp-protocol-version"),
        ({"mcp_method": None}, "mcp-method"),
        ({"mcp_method": "tools/list"}, "mcp-method"),
        ({"mcp_method": "TOOLS/CALL"}, "mcp-method"),
        ({"mcp_name": None}, "mcp-name"),
        ({"mcp_name": "other"}, "mcp-name"),
        ({"mcp_name": "=?base64?!?="}, "mcp-name"),
    ],
    ids=str,
)
async def test_a_header_that_does_not_match(headers, named):
    async with client_of(Demo().server) as peer:
        message, good = envelope("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
        error = refused(await peer.post(message, **{**good, **headers}), MISMATCH)
        assert named in error["message"]


async def test_a_name_that_no_header_can_carry():
    async with client_of(Demo().server) as peer:
        message, headers = envelope("tools/call", {"name": "nämé", "arguments": {}})
        headers["mcp_name"] = "=?base64?" + base64.b64encode("nämé".encode()).decode() + "?="
        response = await peer.post(message, **headers)
        assert "nämé" in response.text


@pytest.mark.parametrize("name", ["mcp-protocol-version", "mcp-method", "mcp-name"])
async def test_a_header_that_comes_twice(name):
    async with client_of(Demo().server) as peer, Connection.to(peer) as connection:
        message, headers = envelope("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
        fields = {key.replace("_", "-"): value for key, value in headers.items()}
        # One more of it, in other letters.
        await connection.post(message, {**fields, name.title(): fields[name]})
        response = await connection.response()
        assert response.status == 400
        assert response.json()["error"]["code"] == MISMATCH


@pytest.mark.parametrize(
    ("meta", "code", "said"),
    [
        ({f"{META}protocolVersion": None}, MISMATCH, "version"),
        ({f"{META}clientCapabilities": ...}, -32602, "clientCapabilities"),
        ({f"{META}protocolVersion": ...}, -32602, "protocolVersion"),
        ({f"{META}protocolVersion": 7}, MISMATCH, "version"),
    ],
    ids=str,
)
async def test_an_envelope_that_is_not_whole(meta, code, said):
    async with client_of(Demo().server) as peer:
        message, headers = envelope("tools/list")
        message["params"]["_meta"] |= meta
        message["params"]["_meta"] = {k: v for k, v in message["params"]["_meta"].items() if v is not ...}
        assert said in refused(await peer.post(message, **headers), code)["message"]


@pytest.mark.parametrize("params", [None, {}, {"_meta": None}, {"_meta": []}], ids=str)
async def test_no_envelope(params):
    async with client_of(Demo().server) as peer:
        message, headers = envelope("tools/list")
        message["params"] = params
        refused(await peer.post(message, **headers), -32602)


async def test_a_client_may_not_say_who_it_is():
    async with client_of(Demo().server) as peer:
        message, headers = envelope("tools/list")
        del message["params"]["_meta"][f"{META}clientInfo"]
        assert (await peer.post(message, **headers)).status_code == 200


async def test_a_version_that_is_not_served():
    async with client_of(Demo().server) as peer:
        message, headers = envelope("tools/list", version="2031-01-01")
        error = refused(await peer.post(message, **headers), -32022)
        assert error["data"] == {"supported": [MODERN], "requested": "2031-01-01"}
        del message["id"]
        response = await peer.post(message, **headers)
        assert response.status_code == 400
        assert response.json()["error"]["data"]["requested"] == "2031-01-01"


async def test_an_older_version_in_the_envelope():
    async with client_of(Demo().server) as peer:
        message, headers = envelope("tools/list", version="2025-11-25")
        headers["mcp_protocol_version"] = MODERN
        refused(await peer.post(message, **headers), MISMATCH)


# Headers that mirror arguments


class Weather(Demo):
    """A demo one of whose tools has arguments that proxies may route by."""

    def __init__(self) -> None:
        super().__init__()
        self.server.add_tool(self.weather)

    @staticmethod
    def weather(
        city: Annotated[str, Field(json_schema_extra={"x-mcp-header": "City"})],
        days: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Days"})] = 1,
        note: str = "",
    ) -> str:
        return f"{city} {days}{note}"


def forecast(**arguments: Any):
    return envelope("tools/call", {"name": "weather", "arguments": arguments})


async def test_arguments_that_are_mirrored():
    async with client_of(Weather().server) as peer:
        message, headers = forecast(city="Bern", days=3, note="!")
        response = await peer.post(message, **headers, mcp_param_city="Bern", mcp_param_days="3")
        assert response.json()["result"]["content"][0]["text"] == "Bern 3!"
        message, headers = forecast(city="Zürich")
        city = "=?base64?" + base64.b64encode("Zürich".encode()).decode() + "?="
        response = await peer.post(message, **headers, mcp_param_city=city)
        assert response.json()["result"]["content"][0]["text"] == "Zürich 1"


@pytest.mark.parametrize(
    ("arguments", "mirrored"),
    [
        ({"city": "Bern"}, {}),
        ({"city": "Bern"}, {"mcp_param_city": "Basel"}),
        ({"city": "Bern"}, {"mcp_param_city": "=?base64?!?="}),
        ({"city": "Bern", "days": 3}, {"mcp_param_city": "Bern", "mcp_param_days": "4"}),
        ({"city": "Bern", "days": 3}, {"mcp_param_city": "Bern"}),
        ({"note": "x"}, {"mcp_param_city": "Bern"}),
        ({}, {"mcp_param_city": "Bern"}),
    ],
    ids=str,
)
async def test_arguments_that_are_not_what_their_headers_say(arguments, mirrored):
    async with client_of(Weather().server) as peer:
        message, headers = forecast(**arguments)
        assert "Mcp-Param-" in refused(await peer.post(message, **headers, **mirrored), MISMATCH)["message"]


@pytest.mark.parametrize("arguments", [None, [], "x", 7], ids=str)
async def test_arguments_of_the_wrong_shape_are_the_calls_own_error(arguments):
    async with client_of(Weather().server) as peer:
        message, headers = envelope("tools/call", {"name": "weather", "arguments": arguments})
        response = await peer.post(message, **headers)
        assert "Mcp-Param-" not in response.text


async def test_without_arguments_nothing_has_to_be_looked_up():
    async with client_of(Weather().server) as peer:
        message, headers = envelope("tools/call", {"name": "ping"})
        assert "Mcp-Param-" not in (await peer.post(message, **headers)).text


async def test_headers_of_a_tool_that_there_is_not():
    async with client_of(Weather().server) as peer:
        message, headers = envelope("tools/call", {"name": "nowhere", "arguments": {"x": 1}})
        response = await peer.post(message, **headers, mcp_param_x="2")
        assert "Mcp-Param-" not in response.text


def paged(pages, find="last", **options):
    """Make a server whose list of tools has many pages."""
    listed = []
    schema = {"type": "object", "properties": {"x": {"type": "string", "x-mcp-header": "X"}}}

    async def list_tools(ctx, params):
        number = int(params.cursor) if params is not None and params.cursor else 1
        listed.append(number)
        name = "last" if number == pages else f"tool {number}"
        tool = types.Tool(name=name, input_schema=schema)
        return types.ListToolsResult(tools=[tool], next_cursor=str(number + 1) if number < pages else None)

    async def call_tool(ctx, params):
        return types.CallToolResult(content=[types.TextContent(type="text", text="called")])

    server = Server("paged", on_list_tools=list_tools, on_call_tool=call_tool, **options)
    return server, listed


async def test_a_tool_on_the_last_page():
    server, listed = paged(5)
    async with client_of(server) as peer:
        message, headers = envelope("tools/call", {"name": "last", "arguments": {"x": "1"}})
        refused(await peer.post(message, **headers, mcp_param_x="2"), MISMATCH)
        assert listed == [1, 2, 3, 4, 5]
        assert (await peer.post(message, **headers, mcp_param_x="1")).status_code == 200


async def test_a_tool_on_no_page():
    server, listed = paged(3)
    async with client_of(server) as peer:
        message, headers = envelope("tools/call", {"name": "nowhere", "arguments": {"x": "1"}})
        assert (await peer.post(message, **headers)).status_code == 200
        assert listed == [1, 2, 3]


async def test_a_list_without_end_is_not_read_to_its_end():
    server, listed = paged(10**9)
    async with client_of(server) as peer:
        message, headers = envelope("tools/call", {"name": "last", "arguments": {"x": "1"}})
        assert (await peer.post(message, **headers)).status_code == 200
        assert len(listed) == 100


async def test_a_server_that_knows_its_schemas_is_asked_for_them():
    schema = {"type": "object", "properties": {"x": {"type": "string", "x-mcp-header": "X"}}}
    server, listed = paged(5, get_tool_input_schema={"last": schema}.get)
    async with client_of(server) as peer:
        message, headers = envelope("tools/call", {"name": "last", "arguments": {"x": "1"}})
        refused(await peer.post(message, **headers), MISMATCH)
        message, headers = envelope("tools/call", {"name": "other", "arguments": {"x": "1"}})
        assert (await peer.post(message, **headers)).status_code == 200
        assert listed == []


async def test_a_server_without_a_list():
    async def call_tool(ctx, params):
        return types.CallToolResult(content=[])

    async with client_of(Server("bare", on_call_tool=call_tool)) as peer:
        message, headers = envelope("tools/call", {"name": "x", "arguments": {"x": "1"}})
        assert (await peer.post(message, **headers, mcp_param_x="2")).status_code == 200


async def test_a_list_that_fails_does_not_break_the_call(caplog):
    async def list_tools(ctx, params):
        raise OSError("no database")

    async def call_tool(ctx, params):
        return types.CallToolResult(content=[])

    async with client_of(Server("broken", on_list_tools=list_tools, on_call_tool=call_tool)) as peer:
        message, headers = envelope("tools/call", {"name": "x", "arguments": {"x": "1"}})
        assert (await peer.post(message, **headers)).status_code == 200
        assert "its headers are not checked" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("wrong", [{META + "clientInfo": {}}, {META + "logLevel": 1}, {"progressToken": []}], ids=str)
async def test_an_envelope_that_is_wrong_is_no_fault_of_the_list(wrong, caplog):
    server, listed = paged(5)
    async with client_of(server) as peer:
        message, headers = envelope("tools/call", {"name": "last", "arguments": {"x": "1"}, "_meta": wrong})
        refused(await peer.post(message, **headers, mcp_param_x="1"), types.INVALID_PARAMS)
        assert listed == []
        # What any client can provoke is no error of the server's.
        assert "input schema" not in caplog.text
