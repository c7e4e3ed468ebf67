"""One process that answers as the shims of a whole fleet: TLS and HTTP as real ones, each at a loopback address.

    python -m tests.bench.functions.shims DIRECTORY FIRST LAST

Commands are not verified, since only the functions are measured. A line on standard input is a request, and each is
answered by one line of JSON:

    looks           the time of the last look at each toolbox (seconds of the monotonic clock, null before the first)
    dead FIRST LAST the toolboxes of these numbers die: every other one refuses connections, the rest never answer
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import time
from pathlib import Path

from shim.contract import routes
from tests.bench.functions import toolboxes

BACKLOG = 16


class Fleet:
    """The sockets, and when each toolbox was last looked at."""

    def __init__(self, directory: Path, numbers: range) -> None:
        self.numbers = numbers
        self.looks: dict[int, float] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._silent: list[socket.socket] = []
        self._contexts = []
        for path in toolboxes.certificates(directory):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            self._contexts.append(context)

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self.numbers:
            self._servers[number] = await loop.create_server(
                lambda number=number: Connection(self, number),  # type: ignore[misc]
                toolboxes.address(number),
                routes.PORT,
                ssl=self._contexts[number % toolboxes.CERTIFICATES],
                backlog=BACKLOG,
            )

    async def kill(self, first: int, last: int) -> None:
        for number in range(first, last):
            self._servers.pop(number).close()
            if number % 2:
                silent = socket.socket()
                silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                silent.bind((toolboxes.address(number), routes.PORT))
                silent.listen(BACKLOG)
                self._silent.append(silent)


class Connection(asyncio.Protocol):
    """Requests without a body on one connection, which is kept."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._fleet, self._number, self._pending = fleet, number, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._pending = (self._pending + data).split(b"\r\n\r\n")
        for request in requests:
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        line, *headers = request.split(b"\r\n")
        if not line.startswith(b"GET /status"):
            self._send("404 Not Found", b"{}")
            return
        self._fleet.looks[self._number] = time.monotonic()
        known = any(
            header.lower().startswith(b"if-none-match:") and toolboxes.ETAG.encode() in header for header in headers
        )
        if known:
            self._send("304 Not Modified", b"")
        else:
            self._send("200 OK", toolboxes.status(self._number))

    def _send(self, status: str, body: bytes) -> None:
        head = (
            f"HTTP/1.1 {status}\r\n{routes.CONTRACT_HEADER}: {routes.CONTRACT}\r\nETag: {toolboxes.ETAG}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)


async def main(directory: Path, numbers: range) -> None:
    fleet, loop = Fleet(directory, numbers), asyncio.get_running_loop()
    await fleet.serve()
    print(json.dumps("ready"), flush=True)
    while request := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        if request[0] == "dead":
            await fleet.kill(int(request[1]), int(request[2]))
            print(json.dumps("dead"), flush=True)
        else:
            print(json.dumps([fleet.looks.get(number) for number in fleet.numbers]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3]))))
