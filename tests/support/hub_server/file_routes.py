"""Reading files: trees, paths, contents, and the content delivery network."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import quote

from hub_server.exchange import HubError, Request, Response, answer, route
from hub_server.history import Commit, File, Tree
from hub_server.hub import Hub, commit_of
from hub_server.repo_routes import paged, url_of


@route("GET", "/api/{kind}/{repo}/tree/{rev}(?:/{path})?")
def tree(hub: Hub, request: Request) -> Response:
    repository = hub.readable(request)
    commit = commit_of(repository, request.groups["rev"])
    folder = request.groups.get("path", "").strip("/")
    found = _below(hub, commit.tree, folder, recursive=request.flag("recursive"))
    if folder and not found:
        raise HubError(404, f"{folder} does not exist on {request.groups['rev']!r}", "EntryNotFound")
    return paged(hub, request, found)


@route("POST", "/api/{kind}/{repo}/paths-info/{rev}")
def paths_info(hub: Hub, request: Request) -> Response:
    repository = hub.readable(request)
    commit = commit_of(repository, request.groups["rev"])
    entries = {entry["path"]: entry for entry in _below(hub, commit.tree, "", recursive=True)}
    paths = request.form().get("paths", [])
    return answer([entries[path.strip("/")] for path in paths if path.strip("/") in entries])


def _below(hub: Hub, files: Tree, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below a folder, by path."""
    start = f"{folder}/" if folder else ""
    entries = {}
    for path, file in files.items():
        if not path.startswith(start):
            continue
        parts = path[len(start) :].split("/")
        for depth in range(1, len(parts)):
            name = start + "/".join(parts[:depth])
            if recursive or depth == 1:
                entries[name] = {
                    "type": "directory",
                    "path": name,
                    "size": 0,
                    "oid": _folder_oid(files, name),
                }
        if recursive or len(parts) == 1:
            entries[path] = _entry(hub, path, file)
    return [entries[path] for path in sorted(entries)]


def _entry(hub: Hub, path: str, file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
    if file.sha256:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
        if file.sha256 in hub.xet_hashes:
            entry["xetHash"] = hub.xet_hashes[file.sha256]
    return entry


def _folder_oid(files: Tree, folder: str) -> str:
    listing = sorted((path, file.oid) for path, file in files.items() if path.startswith(f"{folder}/"))
    return hashlib.sha1(repr(listing).encode()).hexdigest()


@route("GET HEAD", "/{prefix}{repo}/resolve/{rev}/{path}")
def resolve(hub: Hub, request: Request) -> Response:
    """A file's content or location: large files on the delivery network, others in a cache of the Hub."""
    repository = hub.readable(request)
    commit = commit_of(repository, request.groups["rev"])
    path = request.groups["path"]
    headers = {"X-Repo-Commit": commit.oid}
    file = _file(commit, path, headers)
    if file.sha256 is None:
        place = f"/api/resolve-cache/{repository.kind}s/{repository.name}/{commit.oid}/{quote(path)}"
        headers |= {"Location": place, "ETag": f'"{file.etag}"', "X-Linked-Size": str(file.size)}
        return Response(307, headers=headers)
    headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    if file.sha256 in hub.xet_hashes:
        refresh = f"{request.base}/api/{repository.kind}s/{repository.name}/xet-read-token/{commit.oid}"
        reconstruct = f'<{url_of(request.base, repository)}>; rel="xet-reconstruction-info"'
        headers |= {"X-Xet-Hash": hub.xet_hashes[file.sha256]}
        headers |= {"Link": f'<{refresh}>; rel="xet-auth", {reconstruct}'}
    return Response(302, headers={**headers, "Location": f"{hub.network}/objects/{file.sha256}?signature=good"})


def _file(commit: Commit, path: str, headers: dict[str, str]) -> File:
    if path not in commit.tree:
        raise HubError(404, "Entry not found", "EntryNotFound", **headers)
    return commit.tree[path]


@route("GET HEAD", "/api/resolve-cache/{kind}/{repo}/{rev}/{path}")
def cached(hub: Hub, request: Request) -> Response:
    repository = hub.readable(request)
    commit = commit_of(repository, request.groups["rev"])
    headers = {"X-Repo-Commit": commit.oid}
    file = _file(commit, request.groups["path"], headers)
    return ranged(request, file.content, {**headers, "ETag": f'"{file.etag}"', "Content-Type": "text/plain"})


@route("GET HEAD", "/objects/{oid}")
def network(hub: Hub, request: Request) -> Response:
    """A large file on the delivery network; its links are signed."""
    if request.query.get("signature") != ["good"]:
        raise HubError(403, "The signature is wrong")
    oid = request.groups["oid"]
    if oid not in hub.large:
        raise HubError(404, "No such object")
    return ranged(request, hub.large[oid], {"ETag": f'"{oid}"', "Content-Type": "application/octet-stream"})


def ranged(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    """The full content, or the requested range."""
    headers = {**headers, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if not asked or asked.groups() == ("", ""):
        return Response(200, content, headers)
    size = len(content)
    first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
    last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
    if first > last:
        return Response(416, headers={**headers, "Content-Range": f"bytes */{size}"})
    part = content[first : last + 1]
    return Response(206, part, {**headers, "Content-Range": f"bytes {first}-{last}/{size}"})
