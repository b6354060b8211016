"""A server in this process: a ``requests`` adapter that answers from memory, without a network."""

from __future__ import annotations

import io
from typing import Any

import requests
import urllib3
from requests.adapters import BaseAdapter


class FakeServer(BaseAdapter):
    """Serves ``files`` by address; ``break_after`` cuts the first answers off after so many bytes."""

    def __init__(self, files: dict[str, bytes], *, ranges: bool = True) -> None:
        super().__init__()
        self.files = files
        self.ranges = ranges
        self.break_after: list[int] = []
        self.redirects: dict[str, str] = {}
        self.lengths: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []

    def session(self) -> requests.Session:
        session = requests.Session()
        session.adapters.clear()
        session.mount("https://", self)
        return session

    def send(self, request: Any, *_arguments: Any, **_keywords: Any) -> requests.Response:
        wanted = request.headers.get("Range")
        self.asked.append((request.url, wanted))
        if request.url in self.redirects:
            return _answer(request, 302, b"", {"Location": self.redirects[request.url]})
        if request.url not in self.files:
            return _answer(request, 404, b"not found", {})
        content, status, headers = self.files[request.url], 200, {}
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return _answer(request, 416, b"", {})
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        headers["Content-Length"] = self.lengths.get(request.url, str(len(content)))
        if self.break_after:
            content = content[: self.break_after.pop(0)]
        return _answer(request, status, content, headers)

    def close(self) -> None:
        pass


def _answer(request: Any, status: int, content: bytes, headers: dict[str, str]) -> requests.Response:
    response = requests.Response()
    response.status_code, response.url, response.request = status, request.url, request
    response.headers.update(headers)
    body = io.BytesIO(content)
    response.raw = urllib3.HTTPResponse(
        body, headers=headers, status=status, preload_content=False, enforce_content_length=False
    )
    return response
