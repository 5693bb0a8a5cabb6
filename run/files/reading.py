"""A file as text: unpacked, decoded, in lines that are numbered as an editor does, or in pieces."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from run.errors import AcceleratorError
from run.files.contract import ENCODINGS

#: The most characters of a line, and of an element of a JSON array.
LONGEST = 4_000_000
_GZIP = b"\x1f\x8b"
#: How a file begins that holds no text, and what it is.
_OTHERS = {b"PK\x03\x04": "a zip archive", b"PAR1": "a Parquet file", b"Obj\x01": "an Avro file", b"%PDF": "a PDF"}
#: Byte order marks, the encodings that may begin with them, and what Python calls the encoding with its mark.
_MARKS = {
    codecs.BOM_UTF8: (("utf-8",), "utf-8-sig"),
    codecs.BOM_UTF16_LE: (("utf-16", "utf-16-le"), "utf-16"),
    codecs.BOM_UTF16_BE: (("utf-16", "utf-16-be"), "utf-16"),
}
_BUFFER = 1024 * 1024
_END = re.compile(r"\r\n?|\n")


class Unreadable(AcceleratorError):
    """The file cannot be read on as rows; `line` is where, as far as that is known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"{reason} (line {line})")
        self.line = line


class Text:
    """A file to be read once, from its start to its end. Lines end with `\\n`, `\\r\\n` or `\\r`, and keep that."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        #: The number of the line that was read last.
        self.number = 0
        self._encoding = encoding
        with self._told():
            self._text = _opened(stream, encoding)

    def lines(self) -> Iterator[str]:
        """Yield the lines that are left; raises Unreadable."""
        with self._told():
            for line in iter(partial(self._text.readline, LONGEST), ""):
                self.number += 1
                if "\0" in line:
                    raise Unreadable(f"has a NUL character; is it {self._encoding}?", self.number)
                if len(line) == LONGEST:
                    raise Unreadable(f"has a line of {LONGEST:,} characters or more", self.number)
                yield line

    def line(self) -> str:
        """The next line, or so much of it as may be looked at; empty at the end."""
        with self._told():
            return self._text.readline(LONGEST)

    def piece(self, size: int) -> str:
        """So many more characters; fewer only at the end."""
        with self._told():
            return self._text.read(size)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            raise self._undecodable(error) from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Unreadable(f"cannot be unpacked: {error}") from None

    def _undecodable(self, error: UnicodeDecodeError) -> Unreadable:
        # Bytes are decoded in pieces. The lines before this piece have been given out, but for the one it goes on with.
        before = error.object[: error.start].decode(error.encoding, errors="replace")
        line = self.number + 1 + len(_END.findall(before))
        bad = error.object[error.start : error.end][:4].hex(" ")
        return Unreadable(f"has bytes ({bad}) that are no {self._encoding}; say which encoding it has", line)


def _opened(stream: BinaryIO, encoding: str) -> io.TextIOWrapper:
    packed: io.BufferedReader[Any] = io.BufferedReader(stream, _BUFFER)
    start = packed.peek(4)
    if start.startswith(_GZIP):
        packed = io.BufferedReader(gzip.GzipFile(fileobj=packed), _BUFFER)
        start = packed.peek(4)
    if not start:
        raise Unreadable("is empty")
    for beginning, what in _OTHERS.items():
        if start.startswith(beginning):
            raise Unreadable(f"is {what}")
    return io.TextIOWrapper(packed, _codec(start, encoding), newline="")


def _codec(start: bytes, encoding: str) -> str:
    for mark, (encodings, codec) in _MARKS.items():
        if start.startswith(mark):
            if encoding not in encodings:
                raise Unreadable(f"begins as {encodings[0]} does, and encoding is {encoding}")
            return codec
    if encoding == "utf-16":
        raise Unreadable("has no byte order mark; write encoding: utf-16-le, or utf-16-be")
    return ENCODINGS[encoding]
