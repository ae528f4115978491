"""Repositories by people who mean harm: one line says no, and nothing is run, written elsewhere, or used up.

One child process, whose memory is limited, asks for them all; each test looks at what came of one.
"""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import Hub, repositories
from hub_server.messages import Answer, Request

import arzoo
from arzoo import hub as library

MEMORY = 2**30  # bytes beyond what the process has at the beginning
SECONDS = 5.0  # of the processor; whatever waits is ended by an alarm

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits the memory as Linux does")

CHILD = """
import json, os, resource, signal, sys, time, warnings
import arzoo
from arzoo import cli, hub, tables
from typer.testing import CliRunner
import torch._dynamo, huggingface_hub.file_download  # so that the clock and the limit see the rest
warnings.simplefilter("ignore")
arzoo.load("eve/honest")
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

def command(*arguments):
    result = CliRunner().invoke(cli.app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code:
        raise SystemError(result.output)

CALLS = {
    "load": arzoo.load,
    "pull": arzoo.pull,
    "info": lambda name: command("info", name),
    "verify": lambda name: command("verify", name),
    "push": lambda name: arzoo.load("eve/honest").push_to_hub(name, license="mit", dry_run=True),
    "list": lambda name: hub.list_models(),
}
class TooLong(BaseException):
    pass

def too_long(*_):
    raise TooLong

signal.signal(signal.SIGALRM, too_long)
for line in sys.stdin:
    name, call = json.loads(line)
    started, error = time.process_time(), None
    signal.alarm(25)
    try:
        CALLS[call](name)
    except BaseException as caught:
        error = [type(caught).__name__, str(caught)]
    signal.alarm(0)
    print(json.dumps([name, call, error, time.process_time() - started]), flush=True)
"""


class LyingHub(Hub):
    """A Hub that can be made to say what is not so: `lies` turn the answers to what they match into others."""

    def __init__(self) -> None:
        super().__init__()
        self.lies: list[tuple[str, Callable[[Request, Answer], Answer]]] = []

    def _serve(self, request: Request, target: str, body: bytes) -> Answer:
        answer = super()._serve(request, target, body)
        for name, lie in self.lies:
            if f"/{name}/" in f"{request.path}/":
                answer = lie(request, answer)
        return answer


class Bomb:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch marker",)


@cache
def honest() -> dict[str, bytes]:
    """The files of a checkpoint that loads."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        arzoo.create_model("nade", {"event_shape": (5,), "hidden_size": 3}).save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return {**files, "README.md": b"---\nlicense: mit\n---\nA toy.\n"}


def with_config(change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    files = honest()
    config = json.loads(files["config.json"])
    change(config)
    return {**files, "config.json": json.dumps(config).encode()}


def with_model(**fields: Any) -> dict[str, bytes]:
    return with_config(lambda config: config["model"].update(fields))


def with_weights(data: bytes, **model: Any) -> dict[str, bytes]:
    """Weights that are those of the config, as far as a hash tells."""
    weights = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    files = with_config(lambda config: (config["weights"].update(weights), config["model"].update(model)))
    return {**files, "model.safetensors": data}


def safetensors(header: object, body: bytes = b"\0" * 4, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def with_many_blocks(header: object, body: bytes = b"") -> dict[str, bytes]:
    """A PixelCNN that would never be built, whose weights hold many names."""
    config = arzoo.get_family("pixelcnn").tiny_configs()[0].to_dict()
    files = with_weights(safetensors(header, body))
    told = {**json.loads(files["config.json"]), "family": "pixelcnn", "model": {**config, "num_blocks": 10**9}}
    return {**files, "config.json": json.dumps(told).encode()}


def tensor(*shape: int, end: int = 4) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}


def lie_of_siblings(**changes: Any) -> Callable[[Request, Answer], Answer]:
    """Another size or hash of the weights in what the Hub tells of a repository."""

    def lie(request: Request, answer: Answer) -> Answer:
        if "/api/models/" not in request.path or answer.status != 200:
            return answer
        told = json.loads(answer.body)
        for sibling in told["siblings"]:
            if sibling["rfilename"] == "model.safetensors":
                sibling.update(changes)
                sibling["lfs"].update({key: value for key, value in changes.items() if key == "size"})
        return replace(answer, body=json.dumps(told).encode())

    return lie


def lie_of_info(**changes: Any) -> Callable[[Request, Answer], Answer]:
    """Other facts in what the Hub tells of a repository."""

    def lie(request: Request, answer: Answer) -> Answer:
        if "/api/models/" not in request.path or answer.status != 200:
            return answer
        return replace(answer, body=json.dumps({**json.loads(answer.body), **changes}).encode())

    return lie


def lie_of_headers(**changes: str) -> Callable[[Request, Answer], Answer]:
    """Other headers of files; _ stands for -."""

    def lie(request: Request, answer: Answer) -> Answer:
        if "/resolve/" not in request.path:
            return answer
        changed = {key.replace("_", "-"): value for key, value in changes.items()}
        return replace(answer, headers={**answer.headers, **changed})

    return lie


def lie_of_blob(blob_id: str) -> Callable[[Request, Answer], Answer]:
    """Another name of the contents of config.json in what the Hub tells of a repository."""

    def lie(request: Request, answer: Answer) -> Answer:
        if "/api/models/" not in request.path or answer.status != 200:
            return answer
        told = json.loads(answer.body)
        for sibling in told["siblings"]:
            if sibling["rfilename"] == "config.json":
                sibling["blobId"] = blob_id
        return replace(answer, body=json.dumps(told).encode())

    return lie


def lie_of_bodies(end: bytes) -> Callable[[Request, Answer], Answer]:
    """Files with something at their end."""

    def lie(request: Request, answer: Answer) -> Answer:
        return replace(answer, body=answer.body + end) if "/resolve/" in request.path else answer

    return lie


def laughs(levels: int, merged: bool) -> bytes:
    """A YAML mapping of 9**levels entries in a few lines, by aliases."""
    lines = ["a0: &a0 {x0: 1, x1: 2}" if merged else "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels + 1):
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {{<<: [{aliases}]}}" if merged else f"a{level}: &a{level} [{aliases}]")
    return ("license: mit\n" + "\n".join(lines)).encode()


def card(front: bytes) -> bytes:
    return b"---\n" + front + b"\n---\nA toy.\n"


@dataclass
class Case:
    """What a repository holds, which call is made, and words of the error (none: it does as it should)."""

    files: dict[str, bytes]
    words: str = ""
    call: str = "load"
    lie: Callable[[Request, Answer], Answer] | None = None


def recipe(text: bytes, words: str) -> Case:
    return Case({**honest(), "recipe.toml": text}, words, "info")


DEEP = b"[" * 200_000 + b"]" * 200_000
DIGITS = b"9" * 10**6
MANY = 100_000
EMPTY_TENSORS = {f"x{index}": tensor(0, end=0) for index in range(MANY)}
TINY_TENSORS = {f"x{index}": {"dtype": "U8", "shape": [1], "data_offsets": [index, index + 1]} for index in range(MANY)}
ELSEWHERE = Path(tempfile.gettempdir()) / f"evil-{os.getpid()}"


def cases() -> dict[str, Case]:
    pickled = pickle.dumps(Bomb())
    files = honest()
    code = b"import os\nos.system('touch marker')\n"
    return {
        # ---- files that run when they are read, beside an honest checkpoint or in place of it
        "pickle-beside": Case({**files, "pytorch_model.bin": pickled, "modeling.py": code, "setup.py": code}),
        "pickle-alone": Case({"config.json": files["config.json"], "pytorch_model.bin": pickled}, "no model.safe"),
        "pickle-as-weights": Case(with_weights(pickled), "is no safetensors file"),
        "pickle-as-config": Case({**files, "config.json": pickled}, "is not valid JSON"),
        "auto-map": Case(
            {**with_config(lambda config: config.update(auto_map={"AutoModel": "modeling.Bomb"})), "modeling.py": code},
            "there is no field 'auto_map'",
        ),
        "auto-map-inside": Case(
            {**with_model(auto_map={"AutoModel": "modeling.Bomb"}), "modeling.py": code}, "auto_map"
        ),
        "package": Case(with_config(lambda config: config.update(family="os", package="../evil; x")), "no family 'os'"),
        # ---- names that lead elsewhere
        "paths-in-tree": Case(
            {**files, "../../evil": b"x", "/evil": b"x", "..\\evil": b"x", "a/../../config.json": b"{}"}, call="pull"
        ),
        "sha-path": Case(files, "names no commit", lie=lie_of_info(sha="../../../../evil")),
        "commit-path": Case(files, "gives commit", lie=lie_of_headers(X_Repo_Commit="../../../../evil")),
        "commit-of-another": Case(files, "gives commit", lie=lie_of_headers(X_Repo_Commit="0" * 40)),
        "etag-path": Case(files, lie=lie_of_headers(ETag='"../../../../../evil"', X_Linked_Etag='"../../../evil"')),
        "etag-absolute": Case(files, lie=lie_of_headers(ETag=f'"{ELSEWHERE}"', X_Linked_Etag=f'"{ELSEWHERE}"')),
        "blob-path": Case(files, "names no hash of config.json", lie=lie_of_blob("../../../../../evil")),
        "blob-absolute": Case(files, "names no hash of config.json", lie=lie_of_blob(str(ELSEWHERE))),
        "blob-missing": Case(files, "names no hash of config.json", lie=lie_of_blob("")),
        "blob-of-another": Case(files, "comes damaged", lie=lie_of_blob("0" * 40)),
        "body-too-long": Case(files, "has more than the 16777216 bytes", lie=lie_of_bodies(b" " * 2**24)),
        "tensor-path": Case(with_weights(safetensors({"../../evil": tensor(1)})), "does not fit the model"),
        # ---- weights and their headers
        "tensor-lines": Case(with_weights(safetensors({"evil\n\x1b[2J": tensor(1)})), "does not fit the model"),
        "tensor-long-name": Case(with_weights(safetensors({"x" * 10**6: tensor(1)})), "does not fit the model"),
        "header-10-gb": Case(with_weights(safetensors({}, length=10 * 2**30)), "its header cannot be read"),
        "header-16-mb-of-nothing": Case(with_weights(safetensors({}, b" " * 2**24, 2**24)), "is no safetensors file"),
        "tensor-10-gb": Case(with_weights(safetensors({"W": tensor(2**31, end=2**33)})), "its header cannot be read"),
        "header-deep": Case(with_weights(len(DEEP).to_bytes(8, "little") + DEEP), "its header cannot be read"),
        "header-digits": Case(
            with_weights((len(DIGITS) + 8).to_bytes(8, "little") + b'{"W": ' + DIGITS + b" }"), "header cannot be read"
        ),
        "header-many-tensors": Case(with_many_blocks(EMPTY_TENSORS), "it takes far more steps"),
        "header-many-numbers": Case(with_many_blocks(TINY_TENSORS, b"\0" * MANY), "it takes far more steps"),
        "understated": Case(files, "nothing was downloaded", lie=lie_of_siblings(size=3)),
        "overstated": Case(files, "nothing was downloaded", lie=lie_of_siblings(size=10**15)),
        "size-is-text": Case(files, "", lie=lie_of_siblings(size="x" * 10)),
        # ---- JSON
        "config-deep": Case({**files, "config.json": DEEP}, "is not valid JSON"),
        "config-digits": Case({**files, "config.json": b'{"format": ' + DIGITS + b"}"}, "is not valid JSON"),
        "config-digits-in-model": Case(
            {**files, "config.json": files["config.json"].replace(b'"hidden_size": 3', b'"hidden_size": ' + DIGITS)},
            "is not valid JSON",
        ),
        "config-huge": Case({**files, "config.json": b'{"x": "' + b"x" * 2**23 + b'"}'}, "is larger than 4194304"),
        "config-inf": Case(
            {**files, "config.json": files["config.json"].replace(b'"hidden_size": 3', b'"hidden_size": 1e999')},
            "hidden_size",
        ),
        "config-long-family": Case(
            with_config(lambda config: config.update(family="x" * 10**6)), "has more than 200 char"
        ),
        "config-escapes": Case(with_config(lambda config: config.update({"\n\x1b[2J": 1})), "there is no field"),
        "labels-escapes": Case(
            with_config(lambda config: config.update(labels={"\n\x1b[2J": ["a", 1]})), "list of texts"
        ),
        "labels-shown": Case(
            with_config(lambda config: config.update(labels={"bit": ["\n\x1b[2J", "b"]})), "printable", "info"
        ),
        "labels-many": Case(
            with_config(lambda config: config.update(labels={"bit": [*map(str, range(99_999)), "99998"]})), "twice"
        ),
        "labels-nested": Case(
            with_config(lambda config: config.update(labels={"bit": [["a"], ["b"]]})), "list of texts"
        ),
        "metrics-deep": Case({**files, "metrics.json": DEEP}, call="info"),
        "metrics-digits": Case({**files, "metrics.json": b'{"test": ' + DIGITS + b"}"}, call="info"),
        "metrics-huge": Case({**files, "metrics.json": b'"' + b"x" * 2**25 + b'"'}, "more than 16777216", "pull"),
        # ---- configs that ask for everything
        "units": Case(with_model(hidden_size=10**9), "does not fit the model of its config"),
        "scalars": Case(with_model(event_shape=[10**9]), "are refused, more than"),
        "axes": Case(with_model(event_shape=[1] * 300_000), ""),
        # ---- cards
        "card-huge": Case({**files, "README.md": b"x" * (2**24 + 1)}, "more than 16777216", "pull"),
        "card-large": Case({**files, "README.md": b"---\n" + b"---x\n" * 3 * 10**6}, call="info"),
        "card-tags": Case(
            {**files, "README.md": card(b"license: !!python/object/apply:os.system ['touch marker']")},
            "the card of eve/card-tags cannot be written",
            "push",
        ),
        "card-laughs": Case({**files, "README.md": card(laughs(9, False))}, "more than 20 aliases", "push"),
        "card-merges": Case({**files, "README.md": card(laughs(9, True))}, "more than 20 aliases", "push"),
        "card-deep": Case({**files, "README.md": card(b"x: " + DEEP)}, "cannot be written", "push"),
        "card-digits": Case({**files, "README.md": card(b"license: " + DIGITS)}, "cannot be written", "push"),
        "list": Case(files, call="list"),
        # ---- recipes
        "recipe-deep": recipe(b"x = " + b"[" * 8_000, "recipe.toml is no TOML"),
        "recipe-digits": recipe(b"x = " + b"9" * 10_000, "recipe.toml is no TOML"),
        "recipe-dotted": recipe(b".".join([b"x"] * 50_000) + b" = 1\n", "is larger than 16384 bytes"),
        "recipe-no-text": recipe(b"\xff\xfe\0", "recipe.toml is no TOML"),
        "recipe-escapes": recipe(b'"\\u001b[2J\\n" = 1\n', "has no field"),
        "recipe-huge": Case({**files, "recipe.toml": b"#" * (2**24 + 1)}, "more than 16777216", "pull"),
    }


CASES = cases()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("malice")


@pytest.fixture(scope="module")
def asked(place: Path) -> Iterator[Callable[[str], list[Any]]]:
    """What came of each case: the name of the call, type and text of the error or None, and seconds."""
    home = place / "deep" / "deeper" / "home"
    home.mkdir(parents=True)
    (place / "cwd").mkdir()
    results = {}
    with LyingHub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setattr(repositories, "_card", lambda data: {})  # of which the Hub makes what it does: not the point here
        hub.add_user("eve", "hf_eve")
        hub.create("eve/honest", honest())
        lines = []
        for name, case in CASES.items():
            hub.create(f"eve/{name}", case.files)
            hub.lies += [(f"eve/{name}", case.lie)] if case.lie else []
            lines.append(json.dumps([f"eve/{name}", case.call]))
        environment = {
            **hub.environment("hf_eve", xet=False, home=home / "hf"),
            "HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(home),
            "TORCHINDUCTOR_CACHE_DIR": str(home / "hf"),
        }
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(MEMORY)],
            input="\n".join(lines),
            env=environment,
            cwd=place / "cwd",
            capture_output=True,
            text=True,
            timeout=200,
        )
        for line in done.stdout.splitlines():
            name, *result = json.loads(line)
            results[name.removeprefix("eve/")] = result
        assert done.returncode == 0 and len(results) == len(lines), (len(results), done.stderr[-3000:])
        requests = list(hub.requests)
    yield lambda name: [*results[name], requests]


@pytest.mark.parametrize("name", CASES)
def test_one_line_says_no(asked: Callable[[str], list[Any]], name: str) -> None:
    case = CASES[name]
    _, error, seconds, _ = asked(name)
    assert seconds < SECONDS
    if error is None:
        assert not case.words
        return
    kind, text = error
    assert case.words in text
    assert kind in ("ValueError", "LookupError", "FileNotFoundError", "ConnectionError", "SystemError")
    assert "\n" not in text.strip() and "\x1b" not in text and len(text) < 2000


def test_nothing_was_run_or_written_elsewhere(asked: Callable[[str], list[Any]], place: Path) -> None:
    asked("list")
    assert sorted(path.name for path in place.iterdir()) == ["cwd", "deep"]
    assert not list((place / "cwd").iterdir())
    outside = [path for path in place.rglob("*") if "evil" in path.name]
    assert not outside and not list(ELSEWHERE.parent.glob(f"{ELSEWHERE.name}*"))
    home = place / "deep" / "deeper" / "home"
    assert {path.name for path in home.iterdir()} <= {"hf"}


def test_only_files_of_a_checkpoint_were_asked_for(asked: Callable[[str], list[Any]]) -> None:
    *_, requests = asked("list")
    paths = [request.path.split("/resolve/")[1].split("/", 1)[1] for request in requests if "/resolve/" in request.path]
    assert paths and set(paths) <= set(library.FILES)
