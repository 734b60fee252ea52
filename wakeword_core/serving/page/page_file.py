"""Small files of pages, held in memory, with the headers that say what a page may do."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
}
"""The module `mimetypes` differs from system to system, and a browser runs no script of another type."""
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_INLINE = re.compile(rb"<(script|style)[^>]*>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True)
class PageFile:
    """A small file, held in memory."""

    content: bytes
    headers: Mapping[str, str]

    async def response(self, request: Request) -> Response:
        """Return the file, or 304 if the browser has it already."""
        if request.headers.get("if-none-match") == self.headers["ETag"]:
            return Response(status_code=304, headers=self.headers)
        return Response(self.content, headers=self.headers)


def page_file(package: str, name: str, permissions: str = "") -> PageFile:
    """Read a file that lies in a package; a page may load its own server's files only, and has those `permissions`."""
    content = files(package).joinpath(name).read_bytes()
    headers = {
        **HEADERS,
        "Content-Type": f"{TYPES[Path(name).suffix]}; charset=utf-8",
        "Cache-Control": "no-cache",
        "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
    }
    if name.endswith(".html"):
        headers["Content-Security-Policy"] = content_security_policy(content)
        headers["Permissions-Policy"] = permissions
    return PageFile(content, headers)


def content_security_policy(page: bytes) -> str:
    """Return a policy that allows the page this server's files, its own inline script and style, and WebAssembly."""
    hashes: dict[bytes, list[str]] = {b"script": [], b"style": []}
    for kind, text in _INLINE.findall(page):
        hashes[kind].append(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'wasm-unsafe-eval' {' '.join(hashes[b'script'])}",
            f"style-src 'self' {' '.join(hashes[b'style'])}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
