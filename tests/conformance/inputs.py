"""The tools that ask the client for something.

Up to 2025-11-25 a server sends the client a request while it handles one of the
client's. In 2026-07-28 it answers that it needs input, and the client sends its
request again, with the input (SEP-2322).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}


def _titled(**titles: str) -> list[dict[str, str]]:
    return [{"const": const, "title": title} for const, title in titles.items()]


ENUMS = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {"type": "string", "oneOf": _titled(value1="First", value2="Second", value3="Third")},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
    "titledMulti": {
        "type": "array",
        "items": {"anyOf": _titled(value1="First", value2="Second", value3="Third")},
    },
}


# Up to 2025-11-25


async def _elicit(ctx: Context, message: str, properties: dict[str, Any]) -> str:
    schema = {"type": "object", "properties": properties, "required": []}
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return f"action={answer.action}, content={json.dumps(answer.content)}"


async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user."""
    return f"User response: {await _elicit(ctx, message, {'response': {'type': 'string'}})}"


async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask the user, with defaults for all primitive types (SEP-1034)."""
    return f"Elicitation completed: {await _elicit(ctx, 'Please review the defaults', DEFAULTS)}"


async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask the user, with all kinds of enumerations (SEP-1330)."""
    return f"Elicitation completed: {await _elicit(ctx, 'Please choose', ENUMS)}"


async def test_sampling(prompt: str, ctx: Context) -> str:
    """Ask the client's model."""
    answer = await ctx.session.create_message([_message(prompt)], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {_text(answer)}"


# 2026-07-28


def _message(text: str) -> SamplingMessage:
    return SamplingMessage(role="user", content=TextContent(text=text))


def _text(answer: object) -> str:
    content = answer.content if isinstance(answer, CreateMessageResult) else None
    return content.text if isinstance(content, TextContent) else "nothing"


def ask(message: str, **properties: str) -> ElicitRequest:
    """Make a question to the user: the properties of its answer and their types."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(text: str, max_tokens: int) -> CreateMessageRequest:
    """Make a question to the client's model."""
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[_message(text)], max_tokens=max_tokens))


def given(answer: object, name: str) -> Any:
    """Return what the user has answered, or ``None``."""
    return answer.content.get(name) if isinstance(answer, ElicitResult) and answer.content else None


def _required(state: str | None = None, **requests: InputRequest) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


async def test_input_required_result_elicitation(ctx: Context) -> str | InputRequiredResult:
    """Need an answer of the user."""
    name = given((ctx.input_responses or {}).get("user_name"), "name")
    return _required(user_name=ask("What is your name?", name="string")) if name is None else f"Hello, {name}!"


async def test_streaming_elicitation(ctx: Context) -> str | InputRequiredResult:
    """Need an answer of the user, after something was streamed."""
    for done in range(3):
        await ctx.report_progress(done, 3)
        await anyio.sleep(0.1)
    return await test_input_required_result_elicitation(ctx)


async def test_input_required_result_sampling(ctx: Context) -> str | InputRequiredResult:
    """Need an answer of the client's model."""
    answer = (ctx.input_responses or {}).get("capital_question")
    if answer is None:
        return _required(capital_question=sample("What is the capital of France?", 100))
    return f"The model said: {_text(answer)}"


async def test_input_required_result_list_roots(ctx: Context) -> str | InputRequiredResult:
    """Need the client's roots."""
    answer = (ctx.input_responses or {}).get("client_roots")
    if not isinstance(answer, ListRootsResult):
        return _required(client_roots=ListRootsRequest())
    return "The client's roots: " + ", ".join(str(root.uri) for root in answer.roots)


async def test_input_required_result_request_state(ctx: Context) -> str | InputRequiredResult:
    """Need a confirmation, and the state that came with the question."""
    if "confirm" in (ctx.input_responses or {}) and ctx.request_state == "asked":
        return "state-ok: confirmed"
    return _required("asked", confirm=ask("Please confirm", ok="boolean"))


async def test_input_required_result_multiple_inputs(ctx: Context) -> str | InputRequiredResult:
    """Need three things at once."""
    needed: dict[str, InputRequest] = {
        "user_name": ask("What is your name?", name="string"),
        "greeting": sample("Generate a greeting", 50),
        "client_roots": ListRootsRequest(),
    }
    if needed.keys() <= (ctx.input_responses or {}).keys():
        return "All inputs received."
    return _required("asked", **needed)


async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequiredResult:
    """Need two things, one after the other."""
    state: dict[str, Any] = json.loads(ctx.request_state or "{}")
    answers = ctx.input_responses or {}
    name = state.get("name", given(answers.get("step1"), "name"))
    color = given(answers.get("step2"), "color")
    if name is None:
        return _required("{}", step1=ask("Step 1: What is your name?", name="string"))
    if color is None:
        question = ask("Step 2: What is your favorite color?", color="string")
        return _required(json.dumps({"name": name}), step2=question)
    return f"{name} likes {color}."


async def test_input_required_result_tampered_state(ctx: Context) -> str | InputRequiredResult:
    """Trust the state that comes back: the SDK has checked its seal."""
    if ctx.request_state is None:
        return _required("asked", confirm=ask("Please confirm", ok="boolean"))
    return f"state-ok: {ctx.request_state}"


async def test_input_required_result_capabilities(ctx: Context) -> InputRequiredResult:
    """Need only what the client says it can give."""
    capabilities = ctx.client_capabilities
    needed: dict[str, InputRequest] = {}
    if capabilities is not None and capabilities.sampling is not None:
        needed["greeting"] = sample("Say hello", 50)
    if capabilities is not None and capabilities.elicitation is not None:
        needed["user_name"] = ask("What is your name?", name="string")
    return _required("asked", **needed)


async def test_input_required_result_prompt(ctx: Context) -> list[UserMessage] | InputRequiredResult:
    """Need an answer of the user for a prompt."""
    answer = given((ctx.input_responses or {}).get("user_context"), "context")
    if answer is None:
        return _required(user_context=ask("What context should the prompt use?", context="string"))
    return [UserMessage(f"Use the following context: {answer}")]


TOOLS: list[Callable[..., object]] = [
    test_elicitation,
    test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
    test_sampling,
    test_input_required_result_elicitation,
    test_streaming_elicitation,
    test_input_required_result_sampling,
    test_input_required_result_list_roots,
    test_input_required_result_request_state,
    test_input_required_result_multiple_inputs,
    test_input_required_result_multi_round,
    test_input_required_result_tampered_state,
    test_input_required_result_capabilities,
]
