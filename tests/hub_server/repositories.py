"""Routes: users, repositories as a whole, and the names of commits."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from hub_server import cards
from hub_server.messages import Answer, Call, Refusal, answer_json
from hub_server.store import Commit, Kind, Repository
from hub_server.world import PREFIXES, Routes, World

routes = Routes()

_BRIEF = ["id", "modelId", "likes", "private", "downloads", "tags", "pipeline_tag", "library_name", "createdAt"]
_FULL = [*_BRIEF, "author", "gated", "lastModified", "sha", "siblings"]


def _time(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@routes.route("GET", "/api/whoami-v2")
def whoami(world: World, call: Call) -> Answer:
    if call.user is None:
        raise Refusal(401, "Invalid username or password.")
    token = {"role": "write" if call.user.write else "read", "displayName": "test"}
    orgs = [{"type": "org", "name": name, "roleInOrg": "write"} for name in sorted(call.user.orgs)]
    auth = {"type": "access_token", "accessToken": token}
    return answer_json({"type": "user", "name": call.user.name, "fullname": call.user.name, "orgs": orgs, "auth": auth})


@routes.route("POST", "/api/repos/create")
def create(world: World, call: Call) -> Answer:
    asked = call.json()
    kind: Kind = asked.get("type") or "model"
    name = f"{world.owner(call, kind, asked.get('organization'))}/{asked['name']}"
    url = f"{call.url}/{PREFIXES[kind]}{name}"
    if (kind, name) in world.repositories:
        return answer_json({"error": f"You already created this {kind} repo", "url": url}, 409)
    assert call.user
    world.create(kind, name, call.user.name, asked.get("visibility") == "private")
    return answer_json({"url": url, "name": name})


@routes.route("DELETE", "/api/repos/delete")
def delete(world: World, call: Call) -> Answer:
    asked = call.json()
    kind: Kind = asked.get("type") or "model"
    namespace = asked.get("organization") or (call.user.name if call.user else "")
    repository = world.writable(call, kind, f"{namespace}/{asked['name']}")
    del world.repositories[kind, repository.name]
    return answer_json({})


@routes.route("POST", "/api/repos/move")
def move(world: World, call: Call) -> Answer:
    asked = call.json()
    kind: Kind = asked.get("type") or "model"
    repository = world.writable(call, kind, asked["fromRepo"])
    name = f"{world.owner(call, kind, asked['toRepo'].split('/')[0])}/{asked['toRepo'].split('/')[1]}"
    if (kind, name) in world.repositories:
        raise Refusal(409, f"The repository {name} already exists")
    del world.repositories[kind, repository.name]
    world.moved[kind, repository.name] = name
    world.moved.pop((kind, name), None)
    repository.name = name
    world.repositories[kind, name] = repository
    return answer_json({"url": f"{call.url}/{PREFIXES[kind]}{name}"})


@routes.route("PUT", "/api/{kind}s/{id}/settings")
def settings(world: World, call: Call, kind: Kind, id: str) -> Answer:
    repository = world.writable(call, kind, id)
    asked = call.json()
    if "visibility" in asked:
        repository.private = asked["visibility"] == "private"
    if "gated" in asked:
        repository.gated = asked["gated"]
    return answer_json({"private": repository.private, "gated": repository.gated})


@routes.route("GET", "/api/{kind}s")
def listing(world: World, call: Call, kind: Kind) -> Answer:
    query = call.request.query
    found = []
    for repository in world.visible(call, kind):
        entry = info(world, repository, repository.commit_of("main"))
        wanted = set(query.get("filter", []) + query.get("pipeline_tag", []))
        authors, words = query.get("author", []), query.get("search", [])
        if wanted <= set(entry["tags"]) and all(author == repository.namespace for author in authors):
            found += [entry] if all(word.lower() in repository.name.lower() for word in words) else []
    order = call.value("sort") or "createdAt"
    found.sort(key=lambda entry: entry.get(order) or 0, reverse=True)
    start = int(call.value("cursor") or 0)
    size = min(int(call.value("limit") or world.page_size), world.page_size)
    headers = {}
    if start + size < len(found):
        following = urlencode({**query, "cursor": start + size}, doseq=True)
        headers["Link"] = f'<{call.url}/api/{kind}s?{following}>; rel="next"'
    fields = [*(_FULL if call.flag("full") else _BRIEF), *(["cardData"] if call.flag("cardData") else [])]
    return answer_json([_pick(entry, query, fields) for entry in found[start : start + size]], headers=headers)


@routes.route("GET", "/api/{kind}s/{id}", "/api/{kind}s/{id}/revision/{revision}", "/api/{kind}s/{name}")
def one(world: World, call: Call, kind: Kind, id: str = "", revision: str = "main", name: str = "") -> Answer:
    repository = world.repository(call, kind, id or name)
    entry = info(world, repository, repository.commit_of(revision), blobs=call.flag("blobs"))
    return answer_json(_pick(entry, call.request.query, list(entry)))


def _pick(entry: Mapping[str, Any], query: Mapping[str, list[str]], fields: list[str]) -> dict[str, Any]:
    fields = ["id", *query["expand"]] if "expand" in query else fields
    return {key: entry[key] for key in fields if key in entry}


def info(world: World, repository: Repository, commit: Commit, blobs: bool = False) -> dict[str, Any]:
    """All that the Hub says of a repository at a commit."""
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.tree)]
    for sibling in siblings if blobs else []:
        file = commit.tree[sibling["rfilename"]]
        sibling.update(size=file.size, blobId=file.oid)
        if file.large:
            sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    card: dict[str, Any] = {}
    if "README.md" in commit.tree:
        card = _card(world.contents.get(commit.tree["README.md"].sha256))
    entry = {
        "id": repository.name,
        "author": repository.namespace,
        "sha": commit.oid,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "tags": cards.tags(card, commit.tree),
        "siblings": siblings,
        "createdAt": _time(repository.created),
        "lastModified": _time(commit.date),
        "downloads": repository.downloads,
        "likes": 0,
        "usedStorage": sum(file.size for file in commit.tree.values()),
    }
    entry |= {"modelId": repository.name} if repository.kind == "model" else {}
    entry |= {"cardData": card} if card else {}
    return entry | {key: card[key] for key in ("library_name", "pipeline_tag", "model-index") if key in card}


def _card(data: bytes) -> dict[str, Any]:
    try:
        return cards.front_matter(data.decode())
    except ValueError:  # commit() put it there
        return {}


@routes.route("POST", "/api/validate-yaml")
def validate(world: World, call: Call) -> Answer:
    text = call.json()["content"]
    errors = cards.errors(text)
    warnings = [] if errors or cards.front_matter(text) else ["empty or missing yaml metadata in repo card"]
    reply = {"errors": [{"message": each} for each in errors], "warnings": [{"message": each} for each in warnings]}
    return answer_json(reply, 400 if errors else 200)


@routes.route("GET", "/api/{kind}s/{id}/auth-check", "/api/{kind}s/{id}/auth-check/write")
def auth_check(world: World, call: Call, kind: Kind, id: str) -> Answer:
    (world.writable if call.request.path.endswith("/write") else world.readable)(call, kind, id)
    return answer_json({})


@routes.route("GET", "/api/{kind}s/{id}/refs")
def refs(world: World, call: Call, kind: Kind, id: str) -> Answer:
    repository = world.repository(call, kind, id)

    def entry(name: str, ref: str, oid: str) -> dict[str, str]:
        return {"name": name, "ref": ref, "targetCommit": oid}

    pulls = repository.pulls()
    branches = [
        entry(name, f"refs/heads/{name}", oid) for name, oid in repository.branches.items() if name not in pulls
    ]
    tags = [entry(name, f"refs/tags/{name}", oid) for name, oid in repository.tags.items()]
    reply = {"branches": branches, "tags": tags, "converts": []}
    if call.flag("include_prs"):
        reply["pullRequests"] = [entry(name, name, repository.branches[name]) for name in pulls]
    return answer_json(reply)


@routes.route("GET", "/api/{kind}s/{id}/commits/{revision}")
def commits(world: World, call: Call, kind: Kind, id: str, revision: str) -> Answer:
    log = world.repository(call, kind, id).log(revision)
    return answer_json(
        [
            {
                "id": commit.oid,
                "title": commit.title,
                "message": commit.description,
                "date": _time(commit.date),
                "authors": [{"user": commit.author}],
            }
            for commit in log
        ]
    )


@routes.route("POST DELETE", "/api/{kind}s/{id}/tag/{revision}")
def tag(world: World, call: Call, kind: Kind, id: str, revision: str) -> Answer:
    repository = world.writable(call, kind, id)
    if call.request.method == "DELETE":
        if repository.tags.pop(revision, None) is None:
            raise Refusal(404, f"Tag {revision} does not exist", "RevisionNotFound")
        return answer_json({})
    name = call.json()["tag"]
    if name in repository.tags:
        raise Refusal(409, f"Tag reference exists already: {name}")
    repository.tags[name] = repository.commit_of(revision).oid
    return answer_json({})


@routes.route("POST DELETE", "/api/{kind}s/{id}/branch/{revision}")
def branch(world: World, call: Call, kind: Kind, id: str, revision: str) -> Answer:
    repository = world.writable(call, kind, id)
    if call.request.method == "DELETE":
        if revision == "main":
            raise Refusal(403, "The branch main cannot be deleted")
        if repository.branches.pop(revision, None) is None:
            raise Refusal(404, f"Branch {revision} does not exist", "RevisionNotFound")
        return answer_json({})
    if revision in repository.branches:
        raise Refusal(409, f"Reference already exists: {revision}")
    repository.branches[revision] = repository.commit_of(call.json().get("startingPoint") or "main").oid
    return answer_json({})


@routes.route("POST", "/api/{kind}s/{id}/super-squash/{revision}")
def squash(world: World, call: Call, kind: Kind, id: str, revision: str) -> Answer:
    repository = world.writable(call, kind, id)
    assert call.user
    repository.squash(revision, call.json().get("message") or "Super-squash", call.user.name)
    return answer_json({})


@routes.route("POST", "/api/{kind}s/{id}/discussions")
def open_pull_request(world: World, call: Call, kind: Kind, id: str) -> Answer:
    repository = world.writable(call, kind, id, pull_request=True)
    pull = repository.new_pull()
    repository.branches[pull] = repository.commit_of("main").oid
    return answer_json({"num": int(pull.rpartition("/")[2])})


@routes.route("GET", "/api/{kind}s/{id}/discussions/{name}")
def pull_request(world: World, call: Call, kind: Kind, id: str, name: str) -> Answer:
    commit = world.repository(call, kind, id).commit_of(f"refs/pr/{name}")
    reply = {"title": commit.title, "num": int(name), "status": "draft", "createdAt": _time(commit.date), "events": []}
    changes = {"changes": {"base": "refs/heads/main"}, "filesWithConflicts": []}
    return answer_json({**reply, **changes, "repo": {"name": id, "type": kind}, "isPullRequest": True})
