"""A client of HTTP/2 without a library: it opens streams and sends what it is told, also what no client should send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
REFUSED_STREAM = 7


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    content: bytes


class Connection:
    """A connection with prior knowledge of HTTP/2."""

    def __init__(self, port: int, timeout: float = 10) -> None:
        self._timeout = timeout
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(PREFACE)
        self.send(SETTINGS, 0, 0, b"")
        self._next = 1
        self._received = b""
        self._window = 65_535
        self._stream_window = 65_535
        self._windows: dict[int, int] = {}
        self.reset: set[int] = set()
        """Streams that the server has ended."""

    def send(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        """One frame."""
        head = struct.pack(">I", len(content))[1:] + bytes((kind, flags)) + struct.pack(">I", stream)
        self.socket.sendall(head + content)

    def post(self, path: str, length: int) -> int:
        """Begins a request with a body of so many bytes, none of them sent yet; its stream."""
        stream, self._next = self._next, self._next + 2
        fields = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "m"))
        block = b"".join(_literal(*field) for field in (*fields, ("content-length", str(length))))
        self.send(HEADERS, END_HEADERS, stream, block)
        self._windows[stream] = 0
        return stream

    def pour(self, stream: int, length: int, patience: float = 1) -> int:
        """Sends so many bytes of a body, as fast as the windows allow; how many went before nothing moved any more."""
        sent = 0
        while sent < length and stream not in self.reset:
            room = min(length - sent, 16_000, self._window, self._stream_window + self._windows[stream])
            if room > 0:
                self.send(DATA, 0, stream, b" " * room)
                sent, self._window = sent + room, self._window - room
                self._windows[stream] -= room
                continue
            if not [self._note(frame) for frame in self.frames(patience, enough=True)]:
                break
        return sent

    def _note(self, frame: Frame) -> None:
        if frame.kind == WINDOW_UPDATE:
            more = int.from_bytes(frame.content, "big")
            if frame.stream == 0:
                self._window += more
            else:
                self._windows[frame.stream] = self._windows.get(frame.stream, 0) + more
        elif frame.kind == SETTINGS and not frame.flags & ACK:
            self._stream_window = settings(frame).get(INITIAL_WINDOW_SIZE, self._stream_window)
            self.send(SETTINGS, ACK, 0, b"")
        elif frame.kind == RST_STREAM:
            self.reset.add(frame.stream)
        elif frame.kind == GOAWAY:
            raise ConnectionError("the server says goodbye")

    def frames(self, seconds: float, enough: bool = False) -> Iterator[Frame]:
        """What arrives until nothing does for so long, or the connection ends; `enough`: what arrives at once."""
        self.socket.settimeout(seconds)
        try:
            while chunk := self.socket.recv(65536):
                if enough:
                    self.socket.settimeout(0.001)
                self._received += chunk
                while len(self._received) >= 9:
                    length = int.from_bytes(self._received[:3], "big")
                    if len(self._received) < 9 + length:
                        break
                    kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
                    content, self._received = self._received[9 : 9 + length], self._received[9 + length :]
                    yield Frame(kind, flags, stream, content)
        except TimeoutError:
            self.socket.settimeout(self._timeout)

    def close(self) -> None:
        self.socket.close()


def settings(frame: Frame) -> dict[int, int]:
    """Identifier -> value of a SETTINGS frame."""
    return dict(struct.iter_unpack(">HI", frame.content))


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing and without Huffman coding (HPACK); both shorter than 127 bytes."""
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
