"""A Hugging Face Hub on the loopback, for tests: the real clients talk to it, and it fails when it is told to.

    with Hub() as hub:                                    # everything lies in memory and in a folder that goes with it
        hub.add_user("ann", "hf_ann")                     # a token that may write to ann/...
        hub.add_user("bob", "hf_bob", write=False)        # one that may only read; orgs=["zoo"] gives more namespaces
        commit = hub.create("ann/model", private=True, files={"README.md": b"..."})
        api = HfApi(endpoint=hub.url, token="hf_ann")     # in this process: give cache_dir to all that downloads
        hub.run("hf", "download", "ann/model", token="hf_ann")  # in a child process, with an HF_HOME of its own

Repositories are named as in URLs: "ann/model", "datasets/ann/digits", "spaces/ann/demo".  A new one has one commit,
which holds .gitattributes, as on the Hub.  Files that are binary (a NUL in the first 512 bytes), that .gitattributes
names (*.safetensors, *.parquet, ...) or that are above 10 MB are stored by their sha256 ("LFS"), others by git's sha1.

What a test looks at or does behind the clients' backs (all safe to call while requests are served):
    hub.url                                 "http://127.0.0.1:<port>", the same after stop() and start()
    hub.add_user(name, token, write=True, orgs=())
    hub.create(repo, files=None, private=False, gated=False)  -> head; gated: False, "auto" or "manual"
    hub.change(repo, private=None, gated=None, allowed=None)  settings; allowed: the users who passed the gate
    hub.delete(repo)
    hub.commit(repo, {path: bytes, or None to delete it}, revision="main", message=..., author=...)  -> commit id
    hub.tag(repo, tag, revision="main"), hub.branch(repo, branch, revision="main")
    hub.head(repo, revision="main")         the commit id that a branch, tag, "refs/pr/1" or commit id stands for
    hub.history(repo, revision="main")      commit ids, newest first
    hub.files(repo, revision="main")        {path: bytes}
    hub.file(repo, path, revision="main")   bytes
    hub.exists(repo), hub.is_private(repo), hub.refs(repo) -> {"main": id, "refs/tags/v1": id, "refs/pr/1": id}
    hub.stop(), hub.start()                 down: no port, no connection is left; back.  A hook may stop it, too

What was asked of it, in order:
    hub.requests                            list of Request(method, path, query, headers); path unquoted, without query
    hub.asked(pattern="*", method="*")      those that match; clear with hub.requests.clear()

Faults.  A pattern is a shell pattern (fnmatch) for the whole unquoted path, "*" reaches over slashes; the first fault
that matches a request is used, `times` requests of them (None: always).  hub.faults.clear() ends them all.
    hub.fault("truncate", pattern, method="GET", times=1)   half of the body under the whole Content-Length, then closed
    hub.fault("flip", pattern)              one bit of the body's middle byte turned, same size
    hub.fault("status", pattern, status=503, headers={"Retry-After": "1"}, code="")  an error; code: its X-Error-Code
    hub.fault("slow", pattern, seconds=5)   late by so much; then served
    hub.fault("drip", pattern, seconds=1)   the body in eight parts, with so much time before each
    hub.fault("die", pattern)               closed without reading the body or answering: not served
    hub.fault("lost", pattern)              served, but closed without an answer
    hub.fault("endless", pattern, status=200)  JSON that goes on until the client leaves; .sent: how much it took
    hub.fault("bomb", pattern, status=200)  a little gzip, which was not asked for, that unpacks to half a GiB
    hub.before(pattern, function, method="*", times=1)      function() is called first, then the request goes its way
method is "*" for all faults unless given; what has no body (a HEAD) uses up "truncate", "flip" and "drip" without
effect.

Processes:
    hub.environment(token=None, xet=True, home=None)        an environment in which the clients know this Hub only
    hub.run(*command, token=None, xet=True, home=None, check=True, **extra_environment)  -> CompletedProcess, with text
home is the HF_HOME; None: one of this Hub's own, so that a second command sees the first one's cache.

Xet: uploads of clients with hf_xet go to a content store in a local folder, as hf_xet does for "local://" addresses;
such files are then offered by Xet and by HTTP.  What commit() and LFS bring is offered by HTTP only.  Faults do not
reach the content store: a fault for downloads of weights needs files of commit().  Hub(xet=False) has no such routes,
as most Hubs that people host themselves: uploads of large files fail there unless HF_HUB_DISABLE_XET=1 (in this
process: monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)).

Strangers get 401 with X-Error-Code RepoNotFound where the Hub sends no code: clients read a bare 401 as "not found"
under https:// only.

An error in the server itself answers 500 and is raised at the end of the with block.
"""

from hub_server.hub import Hub
from hub_server.messages import Request

__all__ = ["Hub", "Request"]
