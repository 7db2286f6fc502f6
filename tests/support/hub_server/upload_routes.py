"""Routes for writing: which files are large, their upload, and the commit."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from math import ceil
from typing import Any

from hub_server import xet
from hub_server.exchange import HubError, Request, Response, answer, route
from hub_server.history import Commit, File, Repository, StaleParentError
from hub_server.hub import Hub, commit_of
from hub_server.repo_routes import url_of


@route("POST", "/api/{kind}/{repo}/preupload/{rev}")
def preupload(hub: Hub, request: Request) -> Response:
    repository = _writable(hub, request)
    commit = commit_of(repository, request.groups["rev"])
    return answer({"files": [_mode(hub, commit, file) for file in request.json()["files"]]})


def _writable(hub: Hub, request: Request) -> Repository:
    """Whoever may read may propose a change."""
    if not request.flag("create_pr"):
        return hub.repository(request, write=True)
    repository = hub.readable(request)
    if request.user is None:
        raise HubError(401, "Invalid username or password.")
    return repository


def _mode(hub: Hub, commit: Commit, file: Mapping[str, Any]) -> dict[str, Any]:
    large = hub.is_large(file["path"], base64.b64decode(file["sample"]), file["size"])
    mode = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
    present = commit.tree.get(file["path"])
    return {**mode, "oid": present.etag} if present else mode


@route("POST", r"/{prefix}{repo}\.git/info/lfs/objects/batch")
def batch(hub: Hub, request: Request) -> Response:
    hub.repository(request)
    if request.user is None or not request.may_write:
        raise HubError(403, "This token has no write permission")
    if request.json()["operation"] != "upload":
        raise HubError(422, "Only uploads are asked for by this way")
    objects = [_actions(hub, request.base, **wanted) for wanted in request.json()["objects"]]
    return answer({"transfer": "multipart" if hub.multipart else "basic", "objects": objects})


def _actions(hub: Hub, base: str, oid: str, size: int) -> dict[str, Any]:
    if oid in hub.large:
        return {"oid": oid, "size": size}
    put = f"{hub.network}/uploads/{oid}"
    upload: dict[str, Any] = {"href": put}
    if hub.multipart:
        parts = {str(part): f"{put}/{part}" for part in range(1, ceil(size / hub.multipart) + 1)}
        upload = {"href": f"{base}/lfs/complete/{oid}", "header": {"chunk_size": str(hub.multipart), **parts}}
    return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": {"href": f"{base}/lfs/verify"}}}


@route("PUT", "/uploads/{oid}")
def put(hub: Hub, request: Request) -> Response:
    """A large file in one piece, on the delivery network."""
    _keep(hub, request.groups["oid"], request.body)
    return Response(200)


@route("PUT", "/uploads/{oid}/(?P<part>[0-9]+)")
def put_part(hub: Hub, request: Request) -> Response:
    with hub.lock:
        hub.parts.setdefault(request.groups["oid"], {})[int(request.groups["part"])] = request.body
    return Response(200, headers={"ETag": f'"{hashlib.sha256(request.body).hexdigest()}"'})


@route("POST", "/lfs/complete/{oid}")
def complete(hub: Hub, request: Request) -> Response:
    oid, parts = request.groups["oid"], hub.parts.get(request.groups["oid"], {})
    for named in request.json()["parts"]:
        content = parts.get(named["partNumber"], b"")
        if named["etag"] != f'"{hashlib.sha256(content).hexdigest()}"':
            raise HubError(400, f"Part {named['partNumber']} is another one")
    _keep(hub, oid, b"".join(parts[number] for number in sorted(parts)))
    return answer({})


def _keep(hub: Hub, oid: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != oid:
        raise HubError(400, "The content has another checksum")
    with hub.lock:
        hub.large[oid] = content


@route("POST", "/lfs/verify")
def verify(hub: Hub, request: Request) -> Response:
    wanted = request.json()
    if len(hub.large.get(wanted["oid"], b"")) != wanted["size"] or wanted["oid"] not in hub.large:
        raise HubError(404, "Object not found")
    return answer({})


@route("POST", "/api/{kind}/{repo}/commit/{rev}")
def commit(hub: Hub, request: Request) -> Response:
    repository = _writable(hub, request)
    revision, lines = request.groups["rev"], [json.loads(line) for line in request.body.splitlines()]
    header = lines[0]["value"]
    ref = repository.ref_of(revision)
    if ref is None or ref.startswith("refs/tags/"):
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    about = {"message": header.get("description", ""), "author": str(request.user)}
    with repository.lock:
        parent = commit_of(repository, revision)
        if header.get("parentCommit", parent.oid) != parent.oid:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = _changed(hub, parent, lines[1:])
        if request.flag("create_pr"):
            number, made = repository.open_pull_request(parent, files, header["summary"], **about)
            discussion = f"{url_of(request.base, repository)}/discussions/{number}"
            return _committed(request, repository, made, discussion)
        try:
            made = repository.add_commit(ref, files, header["summary"], parent=parent, **about)
        except StaleParentError as error:
            raise HubError(412, "A commit has happened since. Please refresh and try again.") from error
    return _committed(request, repository, made, None)


def _committed(request: Request, repository: Repository, made: Commit, discussion: str | None) -> Response:
    url = f"{url_of(request.base, repository)}/commit/{made.oid}"
    return answer({"success": True, "commitUrl": url, "commitOid": made.oid, "pullRequestUrl": discussion})


def _changed(hub: Hub, parent: Commit, changes: list[dict[str, Any]]) -> dict[str, File]:
    """The parent's files after all changes; an error applies none."""
    files = dict(parent.tree)
    for change in changes:
        path = change["value"]["path"].strip("/")
        if change["key"] == "file":
            content = base64.b64decode(change["value"]["content"])
            files[path] = File(len(content), content)
        elif change["key"] == "lfsFile":
            files[path] = _large(hub, change["value"]["oid"])
        else:
            gone = [name for name in files if name == path or name.startswith(f"{path}/")]
            if not gone:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
            for name in gone:
                del files[name]
    return files


def _large(hub: Hub, oid: str) -> File:
    """The uploaded file with this sha256; with Xet, its store is searched too."""
    if oid not in hub.large and hub.xet is not None:
        xet.take_in(hub)
    if oid in hub.xet_sizes:
        return File(hub.xet_sizes[oid], sha256=oid)
    if oid not in hub.large:
        raise HubError(400, f"The object {oid} has not been uploaded")
    return File(len(hub.large[oid]), sha256=oid)
