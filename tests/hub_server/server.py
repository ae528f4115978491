"""The port: connections, what is recorded, faults, and the bytes of an answer."""

import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import SHUT_RDWR, socket
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from hub_server.messages import Answer, Refusal, Request

FaultKind = Literal["truncate", "flip", "status", "slow", "drip", "die", "lost", "before", "endless", "bomb"]

_MOST = 2**29  # bytes of what has no end


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that match (None: with all of them)."""

    kind: FaultKind
    pattern: str
    method: str = "*"
    times: int | None = 1
    status: int = 500
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    function: Callable[[], object] | None = None
    sent: int = 0
    """Bytes of what has no end that a client took."""

    def matches(self, request: Request) -> bool:
        return fnmatchcase(request.method, self.method) and fnmatchcase(request.path, self.pattern)


@cache
def bomb() -> bytes:
    return zlib.compress(bytes(_MOST // 8), 9, wbits=31)


Serve = Callable[[Request, str, bytes], Answer]
"""Answers a request, given also its target as it came (path and query, still quoted) and its body."""


class Server(HTTPServer):
    """Serves each connection in a thread of its own, until it is closed: then none of them is left."""

    request_queue_size = 128

    def __init__(
        self, port: int, serve: Serve, requests: list[Request], faults: list[Fault], errors: list[Exception]
    ) -> None:
        self.serve, self.requests, self.faults, self.errors = serve, requests, faults, errors
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: dict[socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", port), _Handler)
        self._loop = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._loop.start()

    def close(self) -> None:
        """Closes the port and every connection; may be called by a thread that serves one."""
        self.closing.set()
        self.shutdown()
        self._loop.join()
        self.server_close()
        with self._lock:
            threads = dict(self._threads)
        for connection in threads:
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)
        for thread in threads.values():
            if thread is not threading.current_thread():
                thread.join()

    def next_fault(self, request: Request) -> Fault | None:
        with self._lock:
            fault = next((fault for fault in self.faults if fault.matches(request)), None)
            if fault and fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
            return fault

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._serve_connection, args=(request, client_address))
        with self._lock:
            self._threads[request] = thread
        thread.start()

    def _serve_connection(self, connection: socket, address: Any) -> None:
        try:
            self.finish_request(connection, address)
        except ConnectionError:  # the client left before the end of an answer
            pass
        except Exception as error:
            self.errors.append(error)
        finally:
            self.shutdown_request(connection)
            with self._lock:
                del self._threads[connection]


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: unbuffered, each reply would wait for a delayed acknowledgement
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # the client was killed, or the server closed
            self.close_connection = True

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        request = Request(self.command, unquote(parts.path), parse_qs(parts.query, keep_blank_values=True), headers)
        self.server.requests.append(request)
        fault = self.server.next_fault(request)
        if fault and fault.kind == "die":
            self.close_connection = True
            return
        body = self._body()
        if fault and fault.function:
            fault.function()
            if self.server.closing.is_set():
                raise ConnectionAbortedError("the function closed the server")
        if fault and fault.kind == "slow":
            self.server.closing.wait(fault.seconds)
        if fault and fault.kind in ("endless", "bomb"):
            return self._send_too_much(fault)
        if fault and fault.kind == "status":
            answer = Refusal(fault.status, "A fault that was asked for", fault.code, fault.headers).answer()
        else:
            answer = self._answer(request, body)
        if fault and fault.kind == "lost":
            self.close_connection = True
            return
        self._send(answer, fault)

    def _answer(self, request: Request, body: bytes) -> Answer:
        try:
            return self.server.serve(request, self.path, body)
        except Refusal as refusal:
            return refusal.answer()
        except Exception as error:
            self.server.errors.append(error)
            return Refusal(500, f"{type(error).__name__}: {error}").answer()

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        self.send_response(answer.status)
        ours = {"X-Request-Id": f"{time.monotonic_ns():x}", "Content-Length": str(len(answer.body))}
        for name, value in (ours | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body, half = answer.body, len(answer.body) // 2
        if fault and fault.kind == "flip" and body:
            body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
        if fault and fault.kind == "truncate":
            body = body[:half]
            self.close_connection = True
        if fault and fault.kind == "drip":
            size = len(body) // 8 + 1
            for start in range(0, len(body), size):
                self.wfile.flush()
                self.server.closing.wait(fault.seconds)
                self.wfile.write(body[start : start + size])
            return
        self.wfile.write(body)

    def _send_too_much(self, fault: Fault) -> None:
        """JSON without an end, or a little that unpacks to as much, until the client leaves."""
        self.close_connection = True
        packed = bomb() if fault.kind == "bomb" else b""
        self.send_response(fault.status)
        encoding = {"Content-Encoding": "gzip", "Content-Length": str(8 * len(packed))} if packed else {}
        for name, value in {"Content-Type": "application/json", **encoding, **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for part in [packed] * 8 if packed else [b" " * 2**16] * (_MOST // 2**16):
            self.wfile.write(part)
            self.wfile.flush()
            fault.sent += len(part)
            if fault.seconds:
                self.server.closing.wait(fault.seconds)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if len(body) < size:
                raise ConnectionResetError("the client left in the middle of a body")
            return body
        chunks = []
        while size := int(self._line().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self._line()
        while self._line().strip():  # trailers
            pass
        return b"".join(chunks)

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line:
            raise ConnectionResetError("the client left in the middle of a body")
        return line

    def log_message(self, format: str, *args: Any) -> None:
        pass
