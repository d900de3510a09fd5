"""JSON-RPC messages: from bytes, with every malformed one refused by name, and to bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast, final

import attrs
import pydantic_core

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INTERNAL_ERROR: Final = -32603
CONNECTION_CLOSED: Final = -32000
REQUEST_CANCELLED: Final = -32800
"""The code that the Language Server Protocol, and the MCP SDK after it, give to a cancelled request."""

RequestId: TypeAlias = int | str
Params: TypeAlias = dict[str, Any] | None


@final
@attrs.frozen
class Request:
    """A call that is owed an answer."""

    id: RequestId
    method: str
    params: Params


@final
@attrs.frozen
class Notification:
    """A message that is owed nothing."""

    method: str
    params: Params


@final
@attrs.frozen
class Answer:
    """What the peer answers to a request of ours: a result or an error."""

    id: RequestId
    result: dict[str, Any] | None
    error: Mapping[str, Any] | None


Message: TypeAlias = Request | Notification | Answer


@final
class MalformedMessageError(ValueError):
    """A body that is no JSON-RPC message.

    Attributes:
        code: The JSON-RPC error code to answer with.
        request_id: The identifier to answer to, where there is a usable one.
    """

    def __init__(self, code: int, message: str, request_id: RequestId | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


def parse(body: bytes | bytearray) -> Message | list[Message]:
    """Read the body of a POST: one message, or a batch of them.

    Raises:
        MalformedMessageError: The body is something else.
    """
    try:
        # Arbitrary nesting and endless numbers are refused here, with a ValueError.
        value = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise MalformedMessageError(PARSE_ERROR, f"Parse error: {exc}") from None
    if isinstance(value, list):
        batch = cast("list[object]", value)
        if not batch:
            raise MalformedMessageError(INVALID_REQUEST, "Invalid request: an empty batch")
        return [_message(item) for item in batch]
    return _message(value)


def _message(value: object) -> Message:
    if not isinstance(value, dict):
        raise MalformedMessageError(INVALID_REQUEST, "Invalid request: not a JSON object")
    fields = cast("dict[str, Any]", value)
    if fields.get("jsonrpc") != "2.0":
        raise MalformedMessageError(INVALID_REQUEST, 'Invalid request: "jsonrpc" must be "2.0"')
    request_id = _request_id(fields)
    method = fields.get("method")
    if method is None:
        return _answer(fields, request_id)
    if not isinstance(method, str):
        raise MalformedMessageError(INVALID_REQUEST, 'Invalid request: "method" must be a string', request_id)
    params = fields.get("params")
    if params is not None and not isinstance(params, dict):
        raise MalformedMessageError(INVALID_REQUEST, 'Invalid request: "params" must be an object', request_id)
    named = cast("Params", params)
    return Notification(method, named) if request_id is None else Request(request_id, method, named)


def _request_id(fields: dict[str, Any]) -> RequestId | None:
    if "id" not in fields:
        return None
    request_id = fields["id"]
    # bool is an int to Python; an identifier of 1.0 or null is one that nobody could correlate.
    if isinstance(request_id, bool) or not isinstance(request_id, int | str):
        raise MalformedMessageError(INVALID_REQUEST, 'Invalid request: "id" must be a string or an integer')
    return request_id


def _answer(fields: dict[str, Any], request_id: RequestId | None) -> Answer:
    result, error = fields.get("result"), fields.get("error")
    if request_id is not None and isinstance(result, dict) and error is None:
        return Answer(request_id, cast("dict[str, Any]", result), None)
    if request_id is not None and isinstance(error, dict) and result is None:
        return Answer(request_id, None, cast("dict[str, Any]", error))
    raise MalformedMessageError(INVALID_REQUEST, "Invalid request: neither a request nor an answer to one", request_id)


def _encode(message: dict[str, Any]) -> bytes:
    return pydantic_core.to_json(message, inf_nan_mode="null")


def request(request_id: RequestId, method: str, params: Mapping[str, Any] | None) -> bytes:
    """Write a request."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    # JSON-RPC 2.0, section 4.2: params is an object where it is present at all.
    return _encode({**message, "params": params} if params else message)


def notification(method: str, params: Mapping[str, Any] | None) -> bytes:
    """Write a notification."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    return _encode({**message, "params": params} if params is not None else message)


def result(request_id: RequestId, value: Mapping[str, Any]) -> bytes:
    """Write an answer that is a result."""
    return _encode({"jsonrpc": "2.0", "id": request_id, "result": value})


def error(request_id: RequestId | None, code: int, message: str, data: object = None) -> bytes:
    """Write an answer that is an error."""
    body: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return _encode({"jsonrpc": "2.0", "id": request_id, "error": body})
