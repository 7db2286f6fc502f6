"""Routes of repositories: create, describe, list, refs, settings; and whoami."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from hub_server import cards
from hub_server.exchange import HubError, Request, Response, answer, route
from hub_server.history import Commit, File, Repository
from hub_server.hub import TIME, Hub, commit_of

_URL = {"model": "", "dataset": "datasets/", "space": "spaces/"}


def url_of(base: str, repository: Repository) -> str:
    return f"{base}/{_URL[repository.kind]}{repository.name}"


def date(seconds: float) -> str:
    return time.strftime(TIME, time.gmtime(seconds))


def paged(hub: Hub, request: Request, entries: Sequence[Any]) -> Response:
    """A page of entries, with a Link header to the next page."""
    start = int(request.query.get("cursor", ["0"])[0])
    size = min(hub.page, int(request.query.get("limit", [hub.page])[0]))
    page = answer(list(entries[start : start + size]))
    if start + size >= len(entries) or "limit" in request.query:
        return page
    kept = "&".join(f"{name}={value}" for name, values in request.query.items() for value in values if name != "cursor")
    link = f'<{request.base}{request.path}?{kept}&cursor={start + size}>; rel="next"'
    return Response(200, page.body, {**page.headers, "Link": link})


@route("GET", "/api/whoami-v2")
def whoami(hub: Hub, request: Request) -> Response:
    if request.user is None:
        raise HubError(401, "Invalid username or password.")
    orgs = [{"type": "org", "name": name} for name, members in hub.organizations.items() if request.user in members]
    role = "write" if request.may_write else "read"
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
    return answer({"type": "user", "name": request.user, "orgs": orgs, "auth": token})


@route("GET", "/api/agent-harnesses")
def harnesses(hub: Hub, request: Request) -> Response:
    return answer({"standardEnvVars": [], "harnesses": {}})


@route("POST", "/api/validate-yaml")
def validate(hub: Hub, request: Request) -> Response:
    try:
        cards.read(request.json()["content"].encode())
    except cards.CardError as error:
        return answer({"errors": [{"message": str(error)}], "warnings": []}, status=400)
    return answer({"errors": [], "warnings": []})


@route("POST", "/api/repos/create")
def create(hub: Hub, request: Request) -> Response:
    wanted = request.json()
    owner = wanted.get("organization") or request.user
    kind, name = wanted.get("type") or "model", f"{owner}/{wanted['name']}"
    with hub.lock:
        hub.check_writing(request, str(owner))
        existing = hub.repositories.get((kind, name))
        if existing is not None:
            url = url_of(request.base, existing)
            return answer({"error": f"You already created this {kind} repo", "url": url}, status=409)
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        created = Repository(kind, name, str(owner), private=private)
        hub.repositories[kind, name] = created
    return answer({"url": url_of(request.base, created), "name": name})


@route("DELETE", "/api/repos/delete")
def delete(hub: Hub, request: Request) -> Response:
    wanted = request.json()
    owner = wanted.get("organization") or request.user
    hub.check_writing(request, str(owner))
    if hub.repositories.pop((wanted.get("type") or "model", f"{owner}/{wanted['name']}"), None) is None:
        raise HubError(404, "Repository not found", "RepoNotFound")
    return answer({})


@route("GET", "/api/{kind}")
def listing(hub: Hub, request: Request) -> Response:
    found = hub.search(request.groups["kind"], request.user, request.query)
    full = request.flag("full")
    return paged(hub, request, [_described(hub, repository, repository.head, files=full) for repository in found])


@route("GET", "/api/{kind}/{repo}")
def info(hub: Hub, request: Request) -> Response:
    repository = hub.repository(request)
    return answer(_described(hub, repository, repository.head, blobs=request.flag("blobs")))


@route("GET", "/api/{kind}/{repo}/revision/{rev}")
def info_at(hub: Hub, request: Request) -> Response:
    repository = hub.repository(request)
    commit = commit_of(repository, request.groups["rev"])
    return answer(_described(hub, repository, commit, blobs=request.flag("blobs")))


def _described(
    hub: Hub, repository: Repository, commit: Commit, *, files: bool = True, blobs: bool = False
) -> dict[str, Any]:
    described = {
        "id": repository.name,
        "author": repository.owner,
        "sha": commit.oid,
        "private": repository.private,
        "gated": "auto" if repository.gated else False,
        "disabled": repository.disabled,
        "tags": hub.tags(commit),
        "downloads": 0,
        "likes": 0,
        "createdAt": date(repository.created),
        "lastModified": date(commit.time),
    }
    if files:
        described["cardData"] = hub.card(commit)
        described["siblings"] = [_sibling(path, file, blobs) for path, file in sorted(commit.tree.items())]
    return described


def _sibling(path: str, file: File, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    entry: dict[str, Any] = {"rfilename": path, "size": file.size, "blobId": file.oid}
    if file.sha256:
        entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return entry


@route("GET", "/api/{kind}/{repo}/refs")
def refs(hub: Hub, request: Request) -> Response:
    repository = hub.repository(request)
    groups: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    kinds = (("refs/heads/", "branches"), ("refs/tags/", "tags"), ("refs/pr/", "pullRequests"))
    for ref, oid in repository.refs.items():
        prefix, group = next(pair for pair in kinds if ref.startswith(pair[0]))
        groups[group].append({"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid})
    if not request.flag("include_prs"):
        del groups["pullRequests"]
    return answer(groups)


@route("GET", "/api/{kind}/{repo}/commits/{rev}")
def commits(hub: Hub, request: Request) -> Response:
    repository = hub.readable(request)
    commit_of(repository, request.groups["rev"])
    return paged(hub, request, [_told(commit) for commit in repository.history(request.groups["rev"])])


def _told(commit: Commit) -> dict[str, Any]:
    authors = [{"user": commit.author}]
    description = {"id": commit.oid, "title": commit.title, "message": commit.message, "authors": authors}
    return {**description, "date": date(commit.time)}


@route("POST", "/api/{kind}/{repo}/tag/{rev}")
def add_tag(hub: Hub, request: Request) -> Response:
    repository = hub.repository(request, write=True)
    return _add_ref(repository, f"refs/tags/{request.json()['tag']}", request.groups["rev"])


@route("DELETE", "/api/{kind}/{repo}/tag/{rev}")
def delete_tag(hub: Hub, request: Request) -> Response:
    return _delete_ref(hub.repository(request, write=True), f"refs/tags/{request.groups['rev']}")


@route("POST", "/api/{kind}/{repo}/branch/{rev}")
def add_branch(hub: Hub, request: Request) -> Response:
    repository = hub.repository(request, write=True)
    start = request.json().get("startingPoint", "main")
    return _add_ref(repository, f"refs/heads/{request.groups['rev']}", start)


@route("DELETE", "/api/{kind}/{repo}/branch/{rev}")
def delete_branch(hub: Hub, request: Request) -> Response:
    return _delete_ref(hub.repository(request, write=True), f"refs/heads/{request.groups['rev']}")


def _add_ref(repository: Repository, ref: str, start: str) -> Response:
    with repository.lock:
        if ref in repository.refs:
            raise HubError(409, f"Reference {ref} exists already")
        repository.refs[ref] = commit_of(repository, start).oid
    return answer({})


def _delete_ref(repository: Repository, ref: str) -> Response:
    with repository.lock:
        if repository.refs.pop(ref, None) is None:
            raise HubError(404, f"Invalid rev id: {ref}", "RevisionNotFound")
    return answer({})


@route("PUT", "/api/{kind}/{repo}/settings")
def settings(hub: Hub, request: Request) -> Response:
    repository = hub.repository(request, write=True)
    wanted = request.json()
    if "visibility" in wanted:
        repository.private = wanted["visibility"] == "private"
    if "gated" in wanted:
        repository.gated = bool(wanted["gated"])
    return answer({})


@route("GET", "/api/{kind}/{repo}/auth-check")
def auth_check(hub: Hub, request: Request) -> Response:
    hub.readable(request)
    return answer({})


@route("GET", "/api/{kind}/{repo}/auth-check/write")
def auth_check_write(hub: Hub, request: Request) -> Response:
    hub.repository(request, write=True)
    return answer({})
