"""A small stand-in of the Hugging Face hub on 127.0.0.1, with the faults that a real one has."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin")  # kept as LFS files, whose ETag is their sha256


def etag(name: str, body: bytes) -> str:
    if name.endswith(LARGE):
        return hashlib.sha256(body).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@dataclass
class Hub:
    """Repositories by id; `faults` maps a file's name (or a repository) to what goes wrong.

    `break`: the first body ends half-way. `short`: every body is short, and says so.
    `wrong`: other bytes of the right length. An integer: that status, once where it is 429.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)  # COMMIT where a repo is not named
    faults: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    seen: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Hub:
        hub = self

        class Handler(_Handler):
            served = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def bodies(self, name: str) -> list[str]:
        """The Range headers of the downloads of one file so far."""
        return [r for method, path, r in self.asked if method == "GET" and path.endswith(name)]


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(send_body=False)

    def do_GET(self) -> None:
        self.answer(send_body=True)

    def answer(self, send_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.served.asked.append((self.command, path, self.headers.get("Range", "")))
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(?:revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = (api or file)[1] if api or file else ""
        if repo not in self.served.repos:
            return self.refuse(404, "RepoNotFound")
        if self.refused(repo) or (file and self.refused(file[3])):
            return None
        commit = self.served.commits.get(repo, COMMIT)
        revision = (api or file)[2] or "main"
        if revision not in ("main", commit):
            return self.refuse(404, "RevisionNotFound")
        if api and "/tree/" in path:
            return self.tree(repo)
        return self.file(repo, commit, file[3], send_body) if file else self.info(repo, commit)

    def refused(self, name: str) -> bool:
        fault = self.served.faults.get(name)
        if not isinstance(fault, int):
            return False
        self.served.seen[name] += 1
        if fault == 429 and self.served.seen[name] > 1:
            return False
        self.refuse(fault, "GatedRepo" if fault in (401, 403) else "")
        return True

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def info(self, repo: str, commit: str) -> None:
        names = [{"rfilename": name} for name in self.served.repos[repo]]
        self.send_json({"id": repo, "sha": commit, "siblings": names})

    def tree(self, repo: str) -> None:
        self.send_json(
            [
                {"type": "file", "path": name, "size": len(body), "oid": etag(name, body)}
                for name, body in self.served.repos[repo].items()
            ]
        )

    def send_json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def file(self, repo: str, commit: str, name: str, send_body: bool) -> None:
        body = self.served.repos[repo].get(name)
        if body is None:
            return self.refuse(404, "EntryNotFound")
        fault = self.served.faults.get(name)
        sent = bytes(len(body)) if fault == "wrong" else body
        start = 0
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "") if send_body else "")
        if found:
            start = int(found[1])
        rest = sent[start:]
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{len(sent) - 1}/{len(sent)}")
        self.send_header("ETag", f'"{etag(name, body)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        if send_body and fault == "short":
            rest = b""
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if not send_body:
            return None
        self.served.seen[name] += 1
        if fault == "break" and self.served.seen[name] == 1:
            self.wfile.write(rest[: len(rest) // 2])
            self.close_connection = True
            return None
        self.wfile.write(rest)
        return None
