"""Routes: what is in a repository, how it gets there, and how it is fetched."""

import base64
import hashlib
import json
import time
from typing import Any
from urllib.parse import parse_qs

from hub_server import cards
from hub_server.messages import Answer, Call, Refusal, answer_json
from hub_server.store import File, Kind, Repository, folders, is_large
from hub_server.world import PREFIXES, Routes, World, kind_of

routes = Routes()


def _entry(world: World, path: str, file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "oid": file.oid, "size": file.size}
    if file.large:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
        if (xet_hash := world.contents.xet_hash(file.sha256)) is not None:
            entry["xetHash"] = xet_hash
    return entry


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}


@routes.route("GET", "/api/{kind}s/{id}/tree/{revision}", "/api/{kind}s/{id}/tree/{revision}/{path}")
def tree(world: World, call: Call, kind: Kind, id: str, revision: str, path: str = "") -> Answer:
    commit = world.repository(call, kind, id).commit_of(revision)
    start = f"{path.strip('/')}/" if path.strip("/") else ""
    below = {each: file for each, file in commit.tree.items() if each.startswith(start)}
    if start and not below:
        raise Refusal(
            404, f"{path} does not exist on {revision}", "EntryNotFound", headers={"X-Repo-Commit": commit.oid}
        )
    deep = call.flag("recursive")
    entries = [
        _folder(each) for each in folders(below) if each.startswith(start) and (deep or "/" not in each[len(start) :])
    ]
    entries += [_entry(world, each, file) for each, file in below.items() if deep or "/" not in each[len(start) :]]
    return answer_json(sorted(entries, key=lambda entry: str(entry["path"])), headers={"X-Repo-Commit": commit.oid})


@routes.route("POST", "/api/{kind}s/{id}/paths-info/{revision}")
def paths_info(world: World, call: Call, kind: Kind, id: str, revision: str) -> Answer:
    known = world.repository(call, kind, id).commit_of(revision).tree
    asked = parse_qs(call.body.decode()).get("paths", [])
    entries = [_entry(world, path, known[path]) for path in asked if path in known]
    return answer_json(entries + [_folder(path) for path in asked if path in folders(known)])


@routes.route("POST", "/api/{kind}s/{id}/preupload/{revision}")
def preupload(world: World, call: Call, kind: Kind, id: str, revision: str) -> Answer:
    repository = world.writable(call, kind, id, pull_request=_is_pull_request(call, revision))
    known = repository.commit_of(revision).tree
    files = []
    for asked in call.json()["files"]:
        path, sample, size = asked["path"], base64.b64decode(asked["sample"]), asked["size"]
        mode = "lfs" if is_large(path, sample, size) else "regular"
        oid = known[path].etag if path in known else None
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return answer_json({"files": files})


def _is_pull_request(call: Call, revision: str) -> bool:
    return call.flag("create_pr") or revision.startswith("refs/pr/")


@routes.route("POST", "/{prefix}{id}.git/info/lfs/objects/batch")
def lfs_batch(world: World, call: Call, prefix: str, id: str) -> Answer:
    world.writable(call, kind_of(prefix), id, pull_request=True)
    objects = []
    for asked in call.json()["objects"]:
        answer = {"oid": asked["oid"], "size": asked["size"]}
        if world.contents.size(asked["oid"]) is None:
            upload = {"href": f"{call.url}/lfs/{asked['oid']}", "header": {}}
            answer["actions"] = {"upload": upload, "verify": {"href": f"{call.url}/lfs-verify", "header": {}}}
        objects.append(answer)
    return answer_json({"transfer": "basic", "objects": objects})


@routes.route("PUT", "/lfs/{name}")
def lfs_upload(world: World, call: Call, name: str) -> Answer:
    if hashlib.sha256(call.body).hexdigest() != name:
        raise Refusal(400, f"These are not the bytes of {name}")
    world.contents.add(call.body)
    return Answer()


@routes.route("POST", "/lfs-verify")
def lfs_verify(world: World, call: Call) -> Answer:
    if world.contents.size(call.json()["oid"]) != call.json()["size"]:
        raise Refusal(404, "The object was not uploaded")
    return answer_json({})


@routes.route("GET", "/api/{kind}s/{id}/xet-read-token/{revision}", "/api/{kind}s/{id}/xet-write-token/{revision}")
def xet_token(world: World, call: Call, kind: Kind, id: str, revision: str) -> Answer:
    if world.xet is None:
        raise Refusal(404, "This Hub has no Xet storage")
    if "/xet-write-token/" in call.request.path:
        world.writable(call, kind, id, pull_request=revision == "None" or _is_pull_request(call, revision))
    else:
        world.readable(call, kind, id).commit_of(revision)
    end = int(time.time()) + 3600
    headers = {"X-Xet-Cas-Url": world.xet.url, "X-Xet-Access-Token": "x", "X-Xet-Token-Expiration": str(end)}
    return answer_json({"casUrl": world.xet.url, "accessToken": "x", "exp": end}, headers=headers)


@routes.route("POST", "/api/{kind}s/{id}/commit/{revision}")
def commit(world: World, call: Call, kind: Kind, id: str, revision: str) -> Answer:
    repository = world.writable(call, kind, id, pull_request=_is_pull_request(call, revision))
    head = repository.commit_of(revision)
    if revision not in repository.branches:
        raise Refusal(400, f"Invalid ref for a commit operation: {revision}")
    lines = [json.loads(line) for line in call.body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    if header.get("parentCommit", head.oid) != head.oid:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    changes = _changes(world, repository, head.tree, [(line["key"], line["value"]) for line in lines])
    branch, base, pull_url = revision, None, None
    if call.flag("create_pr"):
        branch, base = repository.new_pull(), head.oid
        pull_url = f"{call.url}/{PREFIXES[kind]}{id}/discussions/{branch.rpartition('/')[2]}"
    assert call.user
    done = world.commit(repository, branch, changes, header["summary"], header["description"], call.user.name, base)
    url = f"{call.url}/{PREFIXES[kind]}{id}/commit/{done.oid}"
    return answer_json({"success": True, "commitOid": done.oid, "commitUrl": url, "pullRequestUrl": pull_url})


def _changes(
    world: World, repository: Repository, known: Any, lines: list[tuple[str, dict[str, Any]]]
) -> dict[str, File | None]:
    """What the lines of a commit set and delete."""
    changes: dict[str, File | None] = {}
    for key, value in lines:
        if key == "file":
            data = base64.b64decode(value["content"])
            if value["path"] == "README.md" and (errors := cards.errors(data.decode(errors="replace"))):
                raise Refusal(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
            changes[value["path"]] = world.contents.small_file(data)
        elif key == "lfsFile":
            changes[value["path"]] = world.contents.large_file(value["oid"])
        elif key in ("deletedFile", "deletedFolder"):
            path = value["path"].rstrip("/")
            gone = [each for each in known if each == path] if key == "deletedFile" else []
            gone += [each for each in known if each.startswith(f"{path}/")] if key == "deletedFolder" else []
            if not gone:
                raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            changes |= dict.fromkeys(gone)
    return changes


@routes.route("GET HEAD", "/{prefix}{id}/resolve/{revision}/{path}")
def resolve(world: World, call: Call, prefix: str, id: str, revision: str, path: str) -> Answer:
    kind = kind_of(prefix)
    repository = world.readable(call, kind, id)
    commit, file = repository.file_at(revision, path)
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    headers["Content-Type"] = "application/octet-stream" if file.large else "text/plain; charset=utf-8"
    if file.large:
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        if (xet_hash := world.contents.xet_hash(file.sha256)) is not None:
            refresh = f"{call.url}/api/{kind}s/{id}/xet-read-token/{commit.oid}"
            headers |= {"X-Xet-Hash": xet_hash, "Link": f'<{refresh}>; rel="xet-auth"'}
    if call.request.method == "HEAD":
        return Answer(200, b"", {**headers, "Content-Length": str(file.size)})
    if path == "config.json":
        repository.downloads += 1  # the Hub counts models by this file
    data = world.contents.get(file.sha256)
    if "range" not in call.request.headers:
        return Answer(200, data, headers)
    start, stop = _range(call.request.headers["range"], len(data))
    return Answer(206, data[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})


def _range(header: str, size: int) -> tuple[int, int]:
    """Start and stop of the one range of a Range header."""
    first, _, last = header.removeprefix("bytes=").partition("-")
    start, stop = (int(first), int(last) + 1 if last else size) if first else (size - int(last), size)
    if start >= size or start >= stop:
        raise Refusal(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return max(start, 0), min(stop, size)
