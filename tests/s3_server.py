"""An S3 server in a process of its own, and a line to it that is slow, breaks or is silent."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_START_SECONDS = 60
_SERVE = "import sys; from moto.server import main; main(sys.argv[1:])"
_DENIES_WRITES = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "*"}],
}


class S3Server:
    """A server on this machine, without accounts until `check_keys`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"

    def make_bucket(self, name: str) -> None:
        self._ask("PUT", f"/{name}")

    def make_folder(self, bucket: str, name: str) -> None:
        """Write the empty object by which the consoles of stores show an empty folder."""
        self._ask("PUT", f"/{bucket}/{name}/", b"")

    def deny_writes(self, name: str) -> None:
        self._ask("PUT", f"/{name}?policy", json.dumps(_DENIES_WRITES).encode())

    @contextmanager
    def check_keys(self) -> Iterator[None]:
        """Refuse every key but that of an account, which there is none of."""
        self._ask("POST", "/moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            self._ask("POST", "/moto-api/reset-auth", b"inf")

    def _ask(self, method: str, path: str, content: bytes | None = None) -> None:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(self.endpoint + path, content, headers, method=method)
        urllib.request.urlopen(request, timeout=30).read()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server on a free port, and stop it afterwards."""
    server = S3Server(_free_port())
    command = [sys.executable, "-P", "-c", _SERVE, "-p", str(server.port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError("the S3 server did not start")
        yield server
    finally:
        process.kill()
        process.wait()


class Line:
    """A line to a server: at most so many bytes a second, and broken after so many that came from the server."""

    def __init__(self, port: int, *, bytes_a_second: float = 1e9, breaks_after: int | None = None) -> None:
        self._port, self._rate, self._left = port, bytes_a_second, breaks_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.received = 0
        """Bytes that came from the server."""
        self.sent = 0
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._port))
                for ends in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        with source, target, suppress(OSError):
            while (chunk := source.recv(16_384)) and not (back and self._left is not None and self._left <= 0):
                time.sleep(len(chunk) / self._rate)
                target.sendall(chunk)
                if back:
                    self.received += len(chunk)
                    self._left = None if self._left is None else self._left - len(chunk)
                else:
                    self.sent += len(chunk)
            for end in (source, target):
                end.shutdown(socket.SHUT_RDWR)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
