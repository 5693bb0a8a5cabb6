"""Stands between a client and Postgres, and loses the answer to a query when the client has asked for that before.

It understands so much of the protocol (https://www.postgresql.org/docs/current/protocol-message-formats.html): after
the start-up packet each message of a client is a letter, its length and its content; `Q` is a simple query.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, urlsplit

#: Sent before a query whose answer shall be lost.
LOSE_NEXT_ANSWER = "SELECT 'the answer to the next query is lost'"

_PORT = 5432


@contextmanager
def postgres_proxy(url: str) -> Iterator[str]:
    """The address of the same database behind a proxy in a process of its own."""
    parts = urlsplit(url)
    [folder] = parse_qs(parts.query)["host"]
    command = [sys.executable, "-m", __name__, f"{folder}/.s.PGSQL.{_PORT}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        user = quote(parts.username or "postgres")
        try:
            yield f"postgresql://{user}@127.0.0.1:{port}{parts.path}?sslmode=disable&gssencmode=disable"
        finally:
            process.kill()


class _Connection:
    def __init__(self, client: StreamWriter, server: StreamWriter) -> None:
        self._client = client
        self._server = server
        self._is_asked_to_lose = False
        self._is_losing = False

    async def carry_questions(self, client: StreamReader) -> None:
        """From the client to the server, message by message."""
        startup = await client.readexactly(4)
        self._server.write(startup + await client.readexactly(int.from_bytes(startup) - 4))
        while True:
            head = await client.readexactly(5)
            content = await client.readexactly(int.from_bytes(head[1:]) - 4)
            query = content.rstrip(b"\0").decode() if head[:1] == b"Q" else ""
            self._is_losing = self._is_asked_to_lose
            self._is_asked_to_lose = query == LOSE_NEXT_ANSWER
            self._server.write(head + content)

    async def carry_answers(self, server: StreamReader) -> None:
        """From the server to the client, until an answer is to be lost."""
        while answer := await server.read(65_536):
            if self._is_losing:
                # It has come, so the query has taken effect.
                return
            self._client.write(answer)

    async def carry(self, client: StreamReader, server: StreamReader) -> None:
        """Both ways, until one way ends; then both connections break."""
        ways = [asyncio.ensure_future(self.carry_questions(client)), asyncio.ensure_future(self.carry_answers(server))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self._client.transport.abort()
        self._server.close()


async def serve(socket: str) -> None:
    """Carry every connection to the server behind this Unix socket; prints the port."""

    async def accept(client: StreamReader, to_client: StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(socket)
        await _Connection(to_client, to_server).carry(client, server)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
