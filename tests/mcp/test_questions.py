"""What the server asks the client: sampling, elicitation, roots, ping, and how each can end."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from tests.mcp.demo import Demo
from tests.mcp.helpers import answer, call, notification, request, talking

CAPABILITIES: dict[str, dict[str, object]] = {"sampling": {}, "elicitation": {}, "roots": {}}


@asynccontextmanager
async def asked(tool, arguments=None, **options):
    """Call a tool that asks; give its peer, its events and the question."""
    async with talking(Demo().server, **options) as (_, peer):
        await peer.send("DELETE")
        del peer.headers["mcp-session-id"]
        await peer.initialize(**CAPABILITIES)
        async with peer.stream("POST", call(tool, arguments, "caller")) as events:
            yield peer, events, await events.message()


async def reply(peer, question, result):
    response = await peer.post(answer(question["id"], result))
    assert (response.status_code, response.content) == (202, b"")


def text(message):
    assert message["id"] == "caller"
    return message["result"]["content"][0]["text"]


def outcome(message):
    return message["result"]["structuredContent"]["result"]


async def test_sampling():
    async with asked("sample", {"text": "hello"}) as (peer, events, question):
        assert question["method"] == "sampling/createMessage"
        assert question["params"]["messages"][0]["content"]["text"] == "hello"
        content = {"type": "text", "text": "olleh"}
        await reply(peer, question, {"role": "assistant", "content": content, "model": "m"})
        assert text(await events.message()) == "olleh"
        assert await events.rest() == []


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"action": "accept", "content": {"colour": "red"}}, "red"),
        ({"action": "decline"}, "decline"),
        ({"action": "cancel"}, "cancel"),
    ],
)
async def test_elicitation(result, expected):
    async with asked("elicit") as (peer, events, question):
        assert question["method"] == "elicitation/create"
        await reply(peer, question, result)
        assert text(await events.message()) == expected


@pytest.mark.parametrize(("tool", "method"), [("roots", "roots/list"), ("ping", "ping")])
async def test_what_belongs_to_no_request_is_asked_on_the_listening_stream(tool, method):
    async with (
        talking(Demo().server) as (_, peer),
        peer.listen() as listening,
        peer.stream("POST", call(tool, request_id="caller")) as events,
    ):
        question = await listening.message()
        assert question["method"] == method
        assert "params" not in question
        await reply(peer, question, {"roots": [{"uri": "file:///x"}]} if tool == "roots" else {})
        assert text(await events.answer()) == {"roots": "file:///x", "ping": "pong"}[tool]


async def test_a_question_waits_for_a_listener():
    async with (
        talking(Demo().server) as (_, peer),
        peer.stream("POST", call("ping", request_id="caller")) as events,
        peer.listen() as listening,
    ):
        await reply(peer, await listening.message(), {})
        assert text(await events.answer()) == "pong"


async def test_questions_are_matched_within_their_session():
    async with asked("ask") as (peer, events, question):
        other = peer.twin()
        del other.headers["mcp-session-id"]
        await other.initialize()
        await reply(other, question, {"roots": [{"uri": "file:///wrong"}]})
        await reply(peer, question, {"roots": [{"uri": "file:///right"}]})
        assert outcome(await events.message()) == [["file:///right"]]


async def test_each_question_has_an_identifier_of_its_own():
    async with (
        asked("ask") as (peer, events, question),
        peer.stream("POST", call("ask", request_id="second")) as others,
    ):
        second = await others.message()
        assert second["id"] != question["id"]
        await reply(peer, second, {"roots": [{"uri": "file:///second"}]})
        await reply(peer, question, {"roots": [{"uri": "file:///first"}]})
        assert outcome(await others.message()) == [["file:///second"]]
        assert outcome(await events.message()) == [["file:///first"]]


async def test_an_identifier_that_comes_back_as_text_is_understood():
    async with asked("ask") as (peer, events, question):
        await reply(peer, {"id": str(question["id"])}, {"roots": []})
        assert outcome(await events.message()) == [[]]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": -1, "message": "no"}, [-1, "no", None]),
        ({"code": -32601, "message": "no", "data": {"x": 1}}, [-32601, "no", {"x": 1}]),
        ({"code": "x", "message": 7}, [-32603, "7", None]),
        ({}, [-32603, "None", None]),
    ],
)
async def test_a_client_that_answers_with_an_error(error, expected):
    async with asked("ask") as (peer, events, question):
        response = await peer.post({"jsonrpc": "2.0", "id": question["id"], "error": error})
        assert response.status_code == 202
        assert outcome(await events.message()) == [expected]


async def test_progress_on_a_question(caplog):
    async with asked("ask") as (peer, events, question):
        token = question["params"]["_meta"]["progressToken"]
        for params in (
            {"progress": 1},
            {"progress": 2, "total": 3, "message": "two"},
            # A callback that raises is the handler's misfortune, and not the client's.
            {"progress": 3, "message": "raise"},
            {"progress": 4.5, "progressToken": str(token)},
            # What is malformed, or of no question, is dropped.
            {"progress": 9, "progressToken": 10**6},
            {"progress": 9, "progressToken": None},
            {"progress": "9"},
            {"progress": None},
        ):
            message = notification("notifications/progress", {"progressToken": token, **params})
            assert (await peer.post(message)).status_code == 202
        await reply(peer, question, {"roots": []})
        heard = outcome(await events.message())
        assert heard == [[1, None, None], [2, 3, "two"], [3, None, "raise"], [4.5, None, None], []]
        assert "a progress callback raised" in caplog.text
        caplog.clear()


async def test_true_is_not_the_first_question():
    # In Python it is equal to 1, which is the first question's token.
    async with asked("ask") as (peer, events, question):
        assert question["params"]["_meta"]["progressToken"] == 1
        for params in ({"progressToken": True, "progress": 1}, {"progressToken": 1, "progress": True}):
            await peer.post(notification("notifications/progress", params))
        await reply(peer, question, {"roots": []})
        assert outcome(await events.message()) == [[]]


async def test_an_answer_that_does_not_come_in_time():
    async with asked("ask", {"timeout": 0.02}) as (peer, events, question):
        cancelled = await events.message()
        assert cancelled["method"] == "notifications/cancelled"
        assert cancelled["params"]["requestId"] == question["id"]
        ((code, message, _),) = outcome(await events.message())
        assert code == -32001
        assert "timed out" in message
        # The late answer is taken, and goes nowhere.
        await reply(peer, question, {"roots": []})
        assert "result" in await peer.ask(request("ping"))


async def test_only_the_first_answer_counts():
    async with asked("ask") as (peer, events, question):
        await peer.post(answer(question["id"], {"roots": [{"uri": "file:///first"}]}))
        await peer.post(answer(question["id"], {"roots": [{"uri": "file:///second"}]}))
        assert outcome(await events.message()) == [["file:///first"]]


@pytest.mark.parametrize("request_id", [10**6, "nonsense", "", -1])
async def test_an_answer_to_what_was_never_asked(request_id):
    async with talking(Demo().server) as (_, peer):
        assert (await peer.post(answer(request_id, {}))).status_code == 202


async def test_an_answer_of_the_wrong_shape_is_the_handlers_error():
    async with asked("ask") as (peer, events, question):
        await reply(peer, question, {"roots": 7})
        assert (await events.message())["result"]["isError"]


async def test_a_request_that_is_cancelled_abandons_its_question():
    async with asked("ask") as (peer, events, question):
        await peer.post(notification("notifications/cancelled", {"requestId": "caller"}))
        abandoned, body = await events.rest()
        assert abandoned["method"] == "notifications/cancelled"
        assert abandoned["params"]["requestId"] == question["id"]
        assert (body["id"], body["error"]["code"]) == ("caller", -32800)
        await reply(peer, question, {"roots": []})


@pytest.mark.parametrize("tool", ["ask", "roots"])
async def test_a_session_that_ends_ends_its_questions(tool):
    async with (
        talking(Demo().server) as (_, peer),
        peer.listen() as listening,
        peer.stream("POST", call(tool, request_id="caller")) as events,
    ):
        await (events if tool == "ask" else listening).message()
        await peer.send("DELETE")
        *_, body = await events.rest()
        assert (body["id"], body["error"]["data"]) == ("caller", {"reason": "terminated"})
        assert [message["method"] for message in await listening.rest()] in ([], ["notifications/cancelled"])


async def test_a_question_survives_the_connection_on_which_it_was_asked():
    async with asked("ask") as (peer, events, question):
        await events.response.aclose()
        await reply(peer, question, {"roots": [{"uri": "file:///x"}]})
        async with peer.listen(events.position) as again:
            assert outcome((await again.rest())[0]) == [["file:///x"]]
