"""The tasks extension (SEP-2663): tools whose calls are answered with a task, which the client then polls."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import anyio.abc
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, ToolBinding
from mcp.server.mcpserver import Context, require_client_extension
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    ElicitRequest,
    InputRequiredResult,
    RequestParams,
)
from pydantic import BaseModel

from tests.conformance.inputs import ask, test_input_required_result_elicitation

TTL: Final = 600_000
POLL_INTERVAL: Final = 200
_current: ContextVar[Task | None] = ContextVar("_current", default=None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Task:
    """One call that goes on after it was answered."""

    def __init__(self) -> None:
        self.id = str(uuid.uuid4())
        self.scope = anyio.CancelScope()
        self._created = self._updated = _now()
        self._status = "working"
        self._outcome: dict[str, Any] = {}
        self._questions: dict[str, ElicitRequest] = {}
        self._answers: dict[str, Any] = {}
        self._answered = anyio.Event()
        self._asked = 0

    def describe(self) -> dict[str, Any]:
        """Return the task, without what its status brings along."""
        return {
            "taskId": self.id,
            "status": "input_required" if self._questions else self._status,
            "createdAt": self._created,
            "lastUpdatedAt": self._updated,
            "ttlMs": TTL,
            "pollIntervalMs": POLL_INTERVAL,
        }

    def detail(self) -> dict[str, Any]:
        """Return the task, with its questions, its result or its error."""
        questions = {key: _dump(request) for key, request in self._questions.items()}
        return {**self.describe(), **self._outcome, **({"inputRequests": questions} if questions else {})}

    def settle(self, status: str, **outcome: Any) -> None:
        """End the task."""
        self._status, self._outcome, self._updated = status, outcome, _now()
        self._questions.clear()

    async def ask(self, *questions: ElicitRequest) -> list[Any]:
        """Ask the client, and wait for all answers."""
        # A key is never used twice.
        keys = [f"question-{self._asked + number}" for number in range(len(questions))]
        self._asked += len(keys)
        self._questions.update(zip(keys, questions, strict=True))
        self._updated = _now()
        while not self._answers.keys() >= set(keys):
            await self._answered.wait()
            self._answered = anyio.Event()
        return [self._answers[key] for key in keys]

    def answer(self, answers: Mapping[str, Any]) -> None:
        """Take answers; those that nobody waits for are ignored."""
        for key in answers.keys() & self._questions.keys():
            del self._questions[key]
            self._answers[key] = answers[key]
            self._updated = _now()
        self._answered.set()


def _dump(result: HandlerResult) -> Any:
    return result.model_dump(by_alias=True, mode="json", exclude_none=True) if isinstance(result, BaseModel) else result


# The tools


async def greet(name: str) -> str:
    """Greet, at once."""
    return f"Hello, {name}!"


async def slow_compute(seconds: float, label: str = "") -> str:
    """Take some time."""
    await anyio.sleep(seconds)
    return f"Computed {label} in {seconds} s"


async def failing_job() -> str:
    """Fail, after some time, as tools do."""
    await anyio.sleep(1)
    raise RuntimeError("The job has failed")


async def protocol_error_job() -> str:
    """Fail as the protocol does."""
    raise MCPError(INTERNAL_ERROR, "The job has broken down")


async def confirm_delete(filename: str) -> str:
    """Ask before deleting."""
    task = _current.get()
    answers = [] if task is None else await task.ask(ask(f"Delete {filename}?", confirm="boolean"))
    return f"Asked about {filename}: {answers}"


async def multi_input() -> str:
    """Ask two things at once."""
    task = _current.get()
    questions = [ask(f"Who is number {number}?", name="string", confirm="boolean") for number in (1, 2)]
    return f"Both were answered: {[] if task is None else await task.ask(*questions)}"


async def test_tool_with_task(ctx: Context) -> str | InputRequiredResult:
    """Need an answer of the user; only then become a task."""
    return await test_input_required_result_elicitation(ctx)


TOOLS: Final[list[Callable[..., object]]] = [
    greet,
    slow_compute,
    failing_job,
    protocol_error_job,
    confirm_delete,
    multi_input,
    test_tool_with_task,
]
REQUIRED: Final = frozenset({"failing_job", "test_tool_with_task"})
SUPPORTED: Final = REQUIRED | {"slow_compute", "protocol_error_job", "confirm_delete", "multi_input"}
ASKS_FIRST: Final = frozenset({"test_tool_with_task"})


# The extension


class TaskParams(RequestParams):
    task_id: str


class UpdateTaskParams(TaskParams):
    input_responses: dict[str, Any]


class Tasks(Extension):
    """Turns calls into tasks for clients that know tasks, and answers for them."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._group: anyio.abc.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Give tasks a place to run in: the server's lifespan."""
        async with anyio.create_task_group() as self._group:
            yield
            self._group.cancel_scope.cancel()

    def tools(self) -> Sequence[ToolBinding]:
        return [ToolBinding(tool) for tool in TOOLS]

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("tasks/get", TaskParams, self._get),
            MethodBinding("tasks/update", UpdateTaskParams, self._update),
            MethodBinding("tasks/cancel", TaskParams, self._cancel),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        if params.name in REQUIRED:
            require_client_extension(ctx, self.identifier)
        capabilities = ctx.session.client_capabilities
        declared = capabilities is not None and self.identifier in (capabilities.extensions or {})
        if params.name not in SUPPORTED or not declared or (params.name in ASKS_FIRST and not params.input_responses):
            return await call_next(ctx)
        assert self._group is not None
        task = Task()
        self._tasks[task.id] = task
        self._group.start_soon(self._run, task, ctx, call_next)
        return {"resultType": "task", **task.describe()}

    async def _run(self, task: Task, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> None:
        _current.set(task)
        with task.scope:
            try:
                task.settle("completed", result=_dump(await call_next(ctx)))
            except MCPError as exc:
                task.settle("failed", error=_dump(exc.error))
        if task.scope.cancelled_caught:
            task.settle("cancelled")

    def _find(self, ctx: ServerRequestContext[Any, Any], task_id: str) -> Task:
        require_client_extension(ctx, self.identifier)
        # SEP-2663, "Streamable HTTP: Routing Headers". The SDK checks this for the methods that it knows.
        headers: Mapping[str, str] = getattr(ctx.request, "headers", {})
        if decode_header_value(headers.get(MCP_NAME_HEADER)) != task_id:
            raise MCPError(HEADER_MISMATCH, f"{MCP_NAME_HEADER} header does not match the request body's 'taskId'")
        if task_id not in self._tasks:
            raise MCPError(INVALID_PARAMS, "There is no such task")
        return self._tasks[task_id]

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        return self._find(ctx, params.task_id).detail()

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: UpdateTaskParams) -> dict[str, Any]:
        self._find(ctx, params.task_id).answer(params.input_responses)
        return {}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        self._find(ctx, params.task_id).scope.cancel()
        return {}
