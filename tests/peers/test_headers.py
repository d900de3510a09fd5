"""Headers, read as their specifications say."""

from __future__ import annotations

import pytest

from tests.mcp.helpers import call, request
from tests.mcp.raw import Connection
from tests.peers.helpers import first_id, refused


@pytest.mark.flaw_of("python-sdk")
@pytest.mark.parametrize("origin", ["http://localhost:80.evil.example", "http://127.0.0.1:8000@evil.example"])
async def test_an_origin_is_not_matched_by_its_beginning(server, origin):
    async with server.client() as client:
        assert (await client.post(request("ping"), origin="http://localhost:8000")).status_code == 200
        assert (await client.post(request("ping"), origin=origin)).status_code == 403


@pytest.mark.flaw_of("python-sdk")
async def test_a_host_is_not_matched_by_its_beginning(server):
    async with server.client() as client:
        assert (await client.post(request("ping"), host="localhost:8000")).status_code == 200
        response = await client.post(request("ping"), host="localhost:80.evil.example")
        # It is not even a host and a port.
        assert response.status_code in {400, 403, 421}


@pytest.mark.flaw_of("python-sdk")
async def test_a_request_without_a_version_is_of_the_version_that_was_negotiated(server):
    async with server.client() as client:
        # Streams of that revision begin with an event id.
        unversioned = {"mcp_protocol_version": None}
        async with client.stream("POST", call("wait", {"name": "unversioned"}), **unversioned) as events:
            await first_id(events)


@pytest.mark.flaw_of("python-sdk")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_version_that_does_not_exist_is_a_bad_request(server, method):
    async with server.client() as client:
        refused(await client.send(method, mcp_protocol_version="1999-12-31"), 400)


@pytest.mark.flaw_of("python-sdk")
@pytest.mark.parametrize("content_type", ["Application/JSON", "APPLICATION/JSON; charset=utf-8"])
async def test_the_case_of_a_media_type_does_not_matter(server, content_type):
    async with server.client() as client:
        assert (await client.post(request("ping"), content_type=content_type)).status_code == 200


@pytest.mark.flaw_of("python-sdk")
async def test_a_batch_of_the_revision_that_has_them_is_answered(server):
    async with server.client("2025-03-26") as client:
        batch = [call("add", {"a": 1, "b": 1}, "one"), call("add", {"a": 2, "b": 2}, "two")]
        async with client.stream("POST", batch) as events:
            assert events.response.status_code == 200
            if events.response.headers["content-type"] == "application/json":
                await events.response.aread()
                answers = events.response.json()
            else:
                answers = await events.rest()
        assert {answer["id"] for answer in answers} == {"one", "two"}


# Of the parser that uvicorn uses.
@pytest.mark.flaw_of("python-sdk")
async def test_white_space_around_a_value_is_no_part_of_it(server):
    async with server.client() as client, Connection.to(client) as connection:
        await connection.post(request("ping"), {"mcp-session-id": f" {client.session} \t "})
        assert (await connection.response_head()).status == 200


@pytest.mark.flaw_of("hypercorn")
async def test_a_connection_is_closed_where_the_client_asks_for_that(server):
    async with server.client() as client, Connection.to(client) as connection:
        await connection.post(request("ping"), {"connection": "close"})
        assert (await connection.response_head()).status == 200
        await connection.rest()


@pytest.mark.flaw_of("hypercorn")
async def test_who_leaves_as_too_much_is_refused_is_no_error(server):
    async with server.client() as client:
        for _ in range(3):
            async with Connection.to(client) as connection:
                await connection.send_head("POST", {"content-length": "99999999"})
                assert (await connection.response_head()).status == 413
                connection.reset()
        # What the server has logged is looked at in the end.
        assert (await client.post(request("ping"))).status_code == 200
