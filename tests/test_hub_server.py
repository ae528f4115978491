"""The test Hub stands for the Hub: real clients find on it what they expect, and meet each fault that is asked for."""

import hashlib
import http.client
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import Hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.numpy import save

# What huggingface_hub itself does wrong when it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

WEIGHTS = save({"weight": np.arange(50_000, dtype=np.float32)})
CARD = (
    b"---\nlicense: mit\nlibrary_name: arzoo\npipeline_tag: other\ntags: [toy]\ndatasets: [ann/digits]\n---\nA toy.\n"
)
FILES = {"README.md": CARD, "config.json": b"{}", "model.safetensors": WEIGHTS, "sub/note.txt": b"hello"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with users ann and eve, who may write, and bob, who may not; ann/model has FILES."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with Hub() as hub:
        hub.add_user("ann", "hf_ann", orgs=["zoo"])
        hub.add_user("eve", "hf_eve")
        hub.add_user("bob", "hf_bob", write=False)
        hub.create("ann/model", FILES)
        yield hub


def client(hub: Hub, user: str | None = "ann") -> HfApi:
    return HfApi(endpoint=hub.url, token=f"hf_{user}" if user else False)


def ask(
    hub: Hub, path: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request by a client that knows nothing of Hubs."""
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@pytest.mark.parametrize("upload_by_xet", [True, False])
@pytest.mark.parametrize("download_by_xet", [True, False])
def test_a_folder_comes_back_as_it_went(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upload_by_xet: bool, download_by_xet: bool
) -> None:
    api = client(hub)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not upload_by_xet)
    assert api.create_repo("ann/new", private=True).repo_id == "ann/new"
    files = FILES | {"model.safetensors": os.urandom(300_000)}
    api.upload_folder(repo_id="ann/new", folder_path=fill(tmp_path / "up", files))
    assert bool(hub.asked("*/xet-write-token/*")) == upload_by_xet == (not hub.asked("/lfs/*", "PUT"))

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not download_by_xet)
    there = api.snapshot_download("ann/new", cache_dir=tmp_path / "cache")
    assert {path: (Path(there) / path).read_bytes() for path in files} == files
    one = api.hf_hub_download("ann/new", "model.safetensors", cache_dir=tmp_path / "other cache")
    assert Path(one).read_bytes() == files["model.safetensors"]
    assert bool(hub.asked("*/xet-read-token/*")) == (upload_by_xet and download_by_xet)
    assert bool(hub.asked("*.safetensors", "GET")) != (upload_by_xet and download_by_xet)
    heads = len(hub.asked("*.safetensors", "HEAD"))
    assert heads == (1 if upload_by_xet and download_by_xet else 2), "a snapshot by Xet needs the tree alone"
    assert {path: data for path, data in hub.files("ann/new").items() if path in files} == files

    api.upload_folder(repo_id="ann/new", folder_path=tmp_path / "up")
    assert len(hub.history("ann/new")) == 2, "what is there already makes no commit"


def test_the_cache_names_files_by_their_hashes(hub: Hub, tmp_path: Path) -> None:
    for path, name in (("model.safetensors", hashlib.sha256(WEIGHTS)), ("config.json", hashlib.sha1(b"blob 2\0{}"))):
        file = Path(client(hub).hf_hub_download("ann/model", path, cache_dir=tmp_path))
        assert (file.parent / file.readlink()).name == name.hexdigest()


def test_who_may_see_a_private_repository(hub: Hub, tmp_path: Path) -> None:
    hub.change("ann/model", private=True)
    for stranger in (None, "bob", "eve"):
        assert list(client(hub, stranger).list_models()) == []
        with pytest.raises(RepositoryNotFoundError):
            client(hub, stranger).model_info("ann/model")
        with pytest.raises(RepositoryNotFoundError):
            client(hub, stranger).hf_hub_download("ann/model", "config.json", cache_dir=tmp_path)
    assert client(hub).model_info("ann/model").private
    client(hub).update_repo_settings("ann/model", private=False)
    assert not client(hub, None).model_info("ann/model").private


def test_what_tokens_are_for(hub: Hub) -> None:
    assert client(hub).whoami()["name"] == "ann"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        client(hub, "nobody").whoami()
    with pytest.raises(HfHubHTTPError, match="401") as caught:
        client(hub, "nobody").model_info("ann/model")
    assert not isinstance(caught.value, RepositoryNotFoundError)
    hub.create("bob/model")
    for user, repo, reason in (("bob", "bob/model", "write token"), ("eve", "ann/model", "create_pr=1")):
        with pytest.raises(HfHubHTTPError, match=f"403 Forbidden.*{reason}"):
            client(hub, user).upload_file(repo_id=repo, path_in_repo="x", path_or_fileobj=b"x")
    with pytest.raises(HfHubHTTPError, match="403"):
        client(hub, "eve").create_repo("zoo/model")
    assert client(hub).create_repo("zoo/model").repo_id == "zoo/model"
    assert not hub.is_private("zoo/model")


def test_a_gated_repository_asks_who_you_are(hub: Hub, tmp_path: Path) -> None:
    client(hub).update_repo_settings("ann/model", gated="manual")
    assert client(hub, "bob").model_info("ann/model").gated == "manual"
    for stranger in (None, "bob"):
        with pytest.raises(GatedRepoError):
            client(hub, stranger).hf_hub_download("ann/model", "config.json", cache_dir=tmp_path)
    hub.change("ann/model", allowed=["bob"])
    client(hub, "bob").hf_hub_download("ann/model", "config.json", cache_dir=tmp_path)


def test_what_is_not_there(hub: Hub, tmp_path: Path) -> None:
    api = client(hub)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("ann/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("ann/model", revision="v9")
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download("ann/model", "config.json", revision="v9", cache_dir=tmp_path)
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("ann/model", "nothing.json", cache_dir=tmp_path)
    with pytest.raises(RemoteEntryNotFoundError):
        api.create_commit("ann/model", [CommitOperationDelete("nothing.json")], commit_message="x")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("ann/model")
    assert api.create_repo("ann/model", exist_ok=True).repo_id == "ann/model"


def test_a_commit_on_a_head_that_moved_is_refused(hub: Hub) -> None:
    head = hub.head("ann/model")
    hub.before("*/commit/main", lambda: hub.commit("ann/model", {"config.json": b"[]"}, author="eve"))
    add = CommitOperationAdd("config.json", b"{1}")
    with pytest.raises(HfHubHTTPError, match="412"):
        client(hub).create_commit("ann/model", [add], commit_message="x", parent_commit=head)
    assert hub.file("ann/model", "config.json") == b"[]"
    newest = client(hub).list_repo_commits("ann/model")[0]
    assert (newest.commit_id, newest.authors) == (hub.head("ann/model"), ["eve"])


def test_commits_change_what_they_say_and_keep_the_rest(hub: Hub) -> None:
    changes = [
        CommitOperationAdd("README.md", CARD + b"More.\n"),
        CommitOperationDelete("sub/"),
        CommitOperationDelete("config.json"),
    ]
    before = hub.head("ann/model")
    done = client(hub).create_commit("ann/model", changes, commit_message="Less", parent_commit=before)
    assert done.oid == hub.head("ann/model") and hub.history("ann/model")[1] == before
    assert hub.files("ann/model").keys() == {".gitattributes", "README.md", "model.safetensors"}
    assert hub.file("ann/model", "README.md", before) == CARD
    client(hub).super_squash_history("ann/model")
    assert len(hub.history("ann/model")) == 1
    body = b'{"key": "header", "value": {"summary": "x", "description": ""}}\n'
    body += b'{"key": "lfsFile", "value": {"path": "a.bin", "algo": "sha256", "oid": "%s", "size": 1}}' % (b"0" * 64)
    authorization = {"Authorization": "Bearer hf_ann"}
    assert ask(hub, "/api/models/ann/model/commit/main", "POST", body, authorization)[0] == 400
    assert ask(hub, f"/lfs/{'0' * 64}", "PUT", b"something else")[0] == 400


def test_a_card_that_the_hub_would_refuse_is_refused(hub: Hub) -> None:
    for text in (
        b"---\nlicense: [\n---\n",
        b"---\nmodel-index:\n- name: x\n  results:\n  - task: {type: other}\n---\n",
    ):
        with pytest.raises(ValueError, match=r"Invalid metadata in README.md(.|\n)*(does not parse|dataset.name)"):
            client(hub).upload_file(repo_id="ann/model", path_in_repo="README.md", path_or_fileobj=text)
    assert hub.file("ann/model", "README.md") == CARD and not hub.asked("*/commit/*")


def test_tags_and_branches(hub: Hub, tmp_path: Path) -> None:
    api, first = client(hub), hub.head("ann/model")
    api.create_tag("ann/model", tag="v1.0")
    api.create_branch("ann/model", branch="exp/one")
    api.upload_file(repo_id="ann/model", revision="exp/one", path_in_repo="config.json", path_or_fileobj=b"[]")
    refs = api.list_repo_refs("ann/model")
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1.0", first)]
    assert {each.name: each.target_commit for each in refs.branches} == {
        "main": first,
        "exp/one": hub.head("ann/model", "exp/one"),
    }
    for revision, data in (("v1.0", "{}"), (first, "{}"), ("exp/one", "[]")):
        file = api.hf_hub_download("ann/model", "config.json", revision=revision, cache_dir=tmp_path)
        assert Path(file).read_text() == data
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag("ann/model", tag="v1.0", revision="exp/one")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_branch("ann/model", branch="exp/one")
    api.delete_tag("ann/model", tag="v1.0")
    api.delete_branch("ann/model", branch="exp/one")
    assert hub.refs("ann/model") == {"main": first}


def test_a_pull_request_leaves_the_branch_alone(hub: Hub, tmp_path: Path) -> None:
    head = hub.head("ann/model")
    folder = fill(tmp_path, {"a.bin": os.urandom(9)})
    one = client(hub, "eve").upload_folder(repo_id="ann/model", folder_path=folder, create_pr=True)
    add = CommitOperationAdd("a.bin", os.urandom(9))
    two = client(hub, "eve").create_commit("ann/model", [add], commit_message="x", create_pr=True, parent_commit=head)
    for done, pull in ((one, "refs/pr/1"), (two, "refs/pr/2")):
        assert done.pr_revision == pull and done.oid == hub.head("ann/model", pull)
        assert "a.bin" in hub.files("ann/model", pull) and hub.history("ann/model", pull)[1] == head
    assert hub.head("ann/model") == head
    pulls = client(hub, None).list_repo_refs("ann/model", include_pull_requests=True).pull_requests
    assert pulls is not None and [each.ref for each in pulls] == ["refs/pr/1", "refs/pr/2"]


def test_what_the_hub_tells_of_a_model(hub: Hub, tmp_path: Path) -> None:
    client(hub).hf_hub_download("ann/model", "config.json", cache_dir=tmp_path)
    info = client(hub, None).model_info("ann/model", files_metadata=True)
    assert (info.sha, info.library_name, info.pipeline_tag, info.downloads) == (
        hub.head("ann/model"),
        "arzoo",
        "other",
        1,
    )
    assert info.card_data is not None and info.card_data.license == "mit"
    assert {"toy", "arzoo", "other", "safetensors", "license:mit", "dataset:ann/digits"} <= set(info.tags or [])
    sizes = {each.rfilename: each.size for each in info.siblings or [] if each.rfilename in FILES}
    assert sizes == {path: len(data) for path, data in FILES.items()}
    assert [each.lfs.sha256 for each in info.siblings or [] if each.lfs] == [hashlib.sha256(WEIGHTS).hexdigest()]
    tree = {each.path: type(each).__name__ for each in client(hub).list_repo_tree("ann/model")}
    assert tree["sub"] == "RepoFolder" and tree["README.md"] == "RepoFile" and "sub/note.txt" not in tree
    assert "sub/note.txt" in client(hub).list_repo_files("ann/model")
    found = client(hub).get_paths_info("ann/model", ["config.json", "sub", "nothing"])
    assert [each.path for each in found] == ["config.json", "sub"]
    assert client(hub).auth_check("ann/model") is None


def test_lists_are_filtered_and_come_page_by_page() -> None:
    with Hub(page_size=2) as hub:
        for i in range(5):
            hub.create(f"ann/model-{i}", {"README.md": b"---\ntags: [arzoo]\n---\n"})
        hub.create("eve/other", FILES)
        hub.create("datasets/ann/digits")
        api = client(hub, None)

        def names(**query: object) -> set[str]:
            return {model.id for model in api.list_models(**query)}

        five = {f"ann/model-{i}" for i in range(5)}
        assert names() == {*five, "eve/other"} and len(hub.asked("/api/models")) == 3
        assert names(author="ann") == names(search="MODEL-") == five
        assert names(filter=["arzoo", "toy"]) == names(author="eve") == {"eve/other"}
        assert len(names(limit=3)) == 3
        [brief], [full] = api.list_models(author="eve", cardData=True), api.list_models(author="eve", full=True)
        assert brief.sha is None and brief.card_data.license == "mit"
        assert full.sha == hub.head("eve/other") and full.card_data is None
        assert [each.id for each in api.list_datasets()] == ["ann/digits"]


def test_a_repository_is_moved_and_deleted(hub: Hub, tmp_path: Path) -> None:
    api = client(hub)
    api.move_repo("ann/model", "zoo/model")
    assert api.model_info("ann/model").id == "zoo/model"
    assert Path(api.hf_hub_download("ann/model", "config.json", cache_dir=tmp_path)).read_bytes() == b"{}"
    api.delete_repo("zoo/model")
    assert not hub.exists("zoo/model") and not api.repo_exists("zoo/model")


def test_parts_of_a_file(hub: Hub) -> None:
    path = "/ann/model/resolve/main/model.safetensors"
    for header, part in (("bytes=0-9", WEIGHTS[:10]), ("bytes=200000-", WEIGHTS[200000:]), ("bytes=-7", WEIGHTS[-7:])):
        status, headers, body = ask(hub, path, headers={"Range": header})
        assert (status, body) == (206, part) and headers["Content-Range"].endswith(f"/{len(WEIGHTS)}")
    assert ask(hub, path, headers={"Range": "bytes=999999999-"})[0] == 416
    status, headers, body = ask(hub, path, "HEAD")
    assert (status, headers["Content-Length"], headers["X-Linked-Size"], body) == (200, *[str(len(WEIGHTS))] * 2, b"")
    assert client(hub).get_safetensors_metadata("ann/model").parameter_count == {"F32": 50_000}


def test_each_fault_is_seen(hub: Hub) -> None:
    path = "/ann/model/resolve/main/config.json"
    hub.commit("ann/model", {"config.json": b"0123456789"})
    hub.fault("truncate", "*.json")
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(hub, path)
    assert caught.value.partial == b"01234"
    hub.fault("flip", "*/config.json", method="GET", times=2)
    assert [ask(hub, path)[2] for _ in range(3)] == [b"0123446789", b"0123446789", b"0123456789"]
    hub.fault("status", "*", times=None, status=429, headers={"Retry-After": "1"}, code="Busy")
    for _ in range(3):
        status, headers, _ = ask(hub, path)
        assert (status, headers["Retry-After"], headers["X-Error-Code"]) == (429, "1", "Busy")
    hub.faults.clear()
    hub.fault("slow", "*", seconds=0.2)
    start = time.monotonic()
    assert ask(hub, path)[0] == 200 and time.monotonic() - start >= 0.2
    new = {"body": b'{"name": "new"}', "headers": {"Authorization": "Bearer hf_ann"}}
    for kind, served in (("die", False), ("lost", True)):
        hub.fault(kind, "/api/repos/create")
        with pytest.raises(ConnectionError):
            ask(hub, "/api/repos/create", "POST", **new)
        assert hub.exists("ann/new") == served
    hub.before("*", lambda: hub.commit("ann/model", {"config.json": b"newer"}))
    assert ask(hub, path)[2] == b"newer"
    assert {str(request) for request in hub.asked("*.json")} == {f"GET {path}"}


def test_clients_meet_faults(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = "ann/model", "model.safetensors"
    hub.fault("flip", "*.safetensors", method="GET")
    got = Path(client(hub).hf_hub_download(*weights, cache_dir=tmp_path / "flip")).read_bytes()
    assert len(got) == len(WEIGHTS) and got != WEIGHTS
    hub.fault("truncate", "*.safetensors", method="GET")
    assert Path(client(hub).hf_hub_download(*weights, cache_dir=tmp_path / "cut")).read_bytes() == WEIGHTS
    assert len(hub.asked("*.safetensors", "GET")) == 3, "the client tries again"
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    head = hub.head("ann/model")
    hub.fault("die", "/lfs/*", method="PUT")
    client(hub).upload_file(repo_id="ann/model", path_in_repo="a.bin", path_or_fileobj=os.urandom(5_000_000))
    assert len(hub.asked("/lfs/*", "PUT")) == 2 and hub.history("ann/model")[1] == head


def test_a_hub_that_is_down_is_down(hub: Hub) -> None:
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"))
    connection.request("GET", "/api/models")
    connection.getresponse().read()
    hub.stop()
    with pytest.raises(ConnectionError):
        connection.request("GET", "/api/models")
        connection.getresponse()
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        ask(hub, "/api/models")
    hub.start()
    assert ask(hub, "/api/models")[0] == 200
    hub.before("/api/models/*", hub.stop)
    with pytest.raises(ConnectionError):
        ask(hub, "/api/models/ann/model")
    with pytest.raises(ConnectionRefusedError):
        ask(hub, "/api/models")


def test_a_hub_without_xet_takes_large_files_by_lfs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub(xet=False) as hub:
        hub.add_user("ann", "hf_ann")
        hub.create("ann/model")
        upload = {"repo_id": "ann/model", "folder_path": fill(tmp_path, {"a.bin": os.urandom(9)})}
        with pytest.raises(ConnectionError):
            client(hub).upload_folder(**upload)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        client(hub).upload_folder(**upload)
        assert "a.bin" in hub.files("ann/model")


def test_an_error_in_the_server_fails_the_test() -> None:
    with pytest.raises(ExceptionGroup, match="in the Hub") as caught, Hub() as hub:
        hub.add_user("ann", "hf_ann")
        assert ask(hub, "/api/repos/create", "POST", b"no json", {"Authorization": "Bearer hf_ann"})[0] == 500
    assert caught.group_contains(json.JSONDecodeError)


def test_the_command_line_client(hub: Hub, tmp_path: Path) -> None:
    def hf(*words: str | Path, user: str = "ann", **options: bool) -> subprocess.CompletedProcess[str]:
        return hub.run("hf", *words, token=f"hf_{user}", **options)

    assert "ann" in hf("auth", "whoami").stdout
    hf("repos", "create", "ann/new", "--private")
    hf("upload", "ann/new", fill(tmp_path / "up", FILES))
    hf("download", "ann/new", "--local-dir", tmp_path / "down")
    assert {path: (tmp_path / "down" / path).read_bytes() for path in FILES} == FILES
    assert "not found" in hf("download", "ann/new", user="bob", check=False).stderr


def test_a_data_set_is_loaded_by_its_name(hub: Hub) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"x": [1, 2, 3]}), file)
    card = b"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: data/test-*\n---\n"
    files = {"README.md": card, "data/test-00000-of-00001.parquet": file.getvalue()}
    hub.create("datasets/ann/three", files, private=True)
    code = "import datasets; print(datasets.load_dataset('ann/three', split='test')['x'][:])"
    assert hub.run(sys.executable, "-c", code, token="hf_ann").stdout.strip() == "[1, 2, 3]"
