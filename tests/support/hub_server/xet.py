"""Xet: tokens, and the content of a local store that hf_xet itself reads and writes.

hf_xet stores at the location in the token response, here `local://FOLDER`. It lists the files in shards, whose
layout is public (huggingface.co/docs/xet/shard): 48 bytes a row; for each file a head (hash, flags, number of
segments), its segments, as many rows of verification where flag 31 is set, and a row with its sha256 where flag 30
is. A hash of ones ends the list. Hashes are four little-endian numbers.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

from hub_server.exchange import HubError, Request, Response, answer, route
from hub_server.hub import Hub

_ROW, _END = 48, b"\xff" * 32
_VERIFIED, _NAMED = 1 << 31, 1 << 30


@route("GET", "/api/{kind}/{repo}/xet-write-token/{rev}")
def write_token(hub: Hub, request: Request) -> Response:
    hub.repository(request, write=not request.flag("create_pr"))
    return _token(hub)


@route("GET", "/api/{kind}/{repo}/xet-read-token/{rev}")
def read_token(hub: Hub, request: Request) -> Response:
    hub.readable(request)
    return _token(hub)


def _token(hub: Hub) -> Response:
    if hub.xet is None:
        raise HubError(404, "There is no Xet store")
    url, ends = f"local://{hub.xet}", int(time.time()) + 3600
    named = {"X_Xet_Cas_Url": url, "X_Xet_Access_Token": "xet", "X_Xet_Token_Expiration": str(ends)}
    return answer({"casUrl": url, "exp": ends, "accessToken": "xet"}, **named)


def take_in(hub: Hub) -> None:
    """Read the list of files in the store."""
    assert hub.xet is not None
    for path in hub.xet.rglob("shards/*.mdb"):
        for sha256, xet_hash, size in _files(path):
            hub.xet_hashes[sha256] = xet_hash
            hub.xet_sizes[sha256] = size


def _files(shard: Path) -> Iterator[tuple[str, str, int]]:
    """sha256, Xet hash and size of every file in a shard."""
    content = shard.read_bytes()
    at = _ROW
    while (head := content[at : at + 32]) != _END:
        flags, segments = struct.unpack_from("<II", content, at + 32)
        sizes = [struct.unpack_from("<I", content, at + (1 + row) * _ROW + 36)[0] for row in range(segments)]
        at += _ROW * (1 + segments * (2 if flags & _VERIFIED else 1))
        if flags & _NAMED:
            yield _hex(content[at : at + 32]), _hex(head), sum(sizes)
            at += _ROW


def _hex(raw: bytes) -> str:
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))
