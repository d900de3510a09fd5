"""The skills extension (SEP-2640): files that tell a model how to do something, and lists of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from mcp import MCPError
from mcp.server.extension import Extension, MethodBinding, ResourceBinding
from mcp.server.mcpserver.resources import TextResource
from mcp_types import INVALID_PARAMS, RequestParams

SCHEME = "skill://"
MANIFEST = "SKILL.md"
DIRECTORY = "inode/directory"
DESCRIPTIONS = {
    "greet-politely": "How to greet somebody whose name is known.",
    "say-goodbye": "How to leave without haste.",
}
CACHED = {"ttlMs": 60_000, "cacheScope": "public"}


class ListSkillsParams(RequestParams):
    cursor: str | None = None


class GetSkillParams(RequestParams):
    uri: str


class ReadDirectoryParams(GetSkillParams):
    cursor: str | None = None


def files_of(name: str) -> dict[str, str]:
    """Return the texts of a skill's files, by URI."""
    manifest = f"---\nname: {name}\ndescription: {DESCRIPTIONS[name]}\n---\n\n{DESCRIPTIONS[name]}\n"
    root = f"{SCHEME}{name}"
    return {f"{root}/{MANIFEST}": manifest, f"{root}/references/example.md": f"An example of {name}.\n"}


FILES = {uri: text for name in DESCRIPTIONS for uri, text in files_of(name).items()}


def entry(name: str) -> dict[str, Any]:
    """Return a skill as lists show it."""
    files = files_of(name)
    return {
        "uri": next(iter(files)),
        "frontmatter": {"name": name, "description": DESCRIPTIONS[name]},
        "resources": [
            {"uri": uri, "digest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}", "size": len(text.encode())}
            for uri, text in files.items()
        ],
    }


class Skills(Extension):
    """Serves the skills."""

    identifier = "io.modelcontextprotocol/skills"

    def settings(self) -> dict[str, Any]:
        return {"directoryRead": True}

    def resources(self) -> Sequence[ResourceBinding]:
        return [ResourceBinding(resource(uri)) for uri in FILES]

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("skills/list", ListSkillsParams, self._list),
            MethodBinding("skills/get", GetSkillParams, self._get),
            MethodBinding("resources/directory/read", ReadDirectoryParams, self._read_directory),
        ]

    async def _list(self, _: object, params: ListSkillsParams) -> dict[str, Any]:
        # A page for each, so that clients have to ask for the next one.
        names = list(DESCRIPTIONS)
        if params.cursor is not None and params.cursor not in names:
            raise MCPError(INVALID_PARAMS, "Unknown cursor")
        page = names.index(params.cursor or names[0])
        more = {"nextCursor": names[page + 1]} if page + 1 < len(names) else {}
        return {"skills": [entry(names[page])], **more, **CACHED}

    async def _get(self, _: object, params: GetSkillParams) -> dict[str, Any]:
        name = params.uri.removeprefix(SCHEME).removesuffix(f"/{MANIFEST}")
        if name not in DESCRIPTIONS or params.uri != f"{SCHEME}{name}/{MANIFEST}":
            raise MCPError(INVALID_PARAMS, f"There is no skill {params.uri}")
        return {"skill": entry(name), **CACHED}

    async def _read_directory(self, _: object, params: ReadDirectoryParams) -> dict[str, Any]:
        root = params.uri.removesuffix("/") + "/"
        names = sorted({uri.removeprefix(root).partition("/")[0] for uri in FILES if uri.startswith(root)})
        if not names:
            raise MCPError(INVALID_PARAMS, f"There is no directory {params.uri}")
        return {"resources": [child(root, name) for name in names]}


def resource(uri: str) -> TextResource:
    """Return a file as a resource; a manifest with the name and the description of its skill."""
    skill, _, path = uri.removeprefix(SCHEME).partition("/")
    name, description = (skill, DESCRIPTIONS[skill]) if path == MANIFEST else (uri, f"A file of {skill}.")
    return TextResource(uri=uri, name=name, description=description, mime_type="text/markdown", text=FILES[uri])


def child(root: str, name: str) -> dict[str, Any]:
    """Return what a directory lists: a file or another directory."""
    mime_type = "text/markdown" if root + name in FILES else DIRECTORY
    return {"uri": root + name, "name": name, "mimeType": mime_type}
