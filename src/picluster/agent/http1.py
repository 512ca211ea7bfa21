"""One request at a time over one kept connection, each with a deadline for the whole of it.

Our own, since `http.client` brings the parser of e-mail with it (3 MB, of 20 that the agent may have), and its
time limits begin anew with every byte that trickles in.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping

from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

CONNECT_S = 10.0
LONGEST_HEAD = 32 * 1024
LONGEST_BODY = 256 * 1024
"""An answer to a beat has some hundred bytes, with four keys of RSA 20 KiB."""
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: .*)?")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?")


class Broken(Exception):
    """No connection, or no whole answer; in words."""


class Gone(Broken):
    """The other end had closed a kept connection before this request: nothing of it was answered."""


class Address(NamedTuple):
    """Where a service is."""

    secure: bool
    host: str
    port: int
    prefix: str = ""
    """What stands before `/api`, behind some proxies."""

    def __str__(self) -> str:
        return f"http{'s' if self.secure else ''}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """By names in small letters."""
    body: bytes


class Connection:
    """Opened when needed, kept while both ends like."""

    def __init__(
        self,
        address: Address,
        trust: Callable[[], ssl.SSLContext],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._trust = trust
        self._clock = clock
        self._socket: socket.socket | None = None
        self._left = b""
        """Received, and not read yet."""
        self._deadline = 0.0

    @property
    def kept(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._left = None, b""

    def post(self, path: str, headers: Mapping[str, str], body: bytes, within_s: float) -> Answer:
        """The whole answer within that time. Raises `Broken`; the connection is closed then."""
        used = self.kept
        try:
            stream = self._socket or self._open()
            self._deadline = self._clock() + within_s
            stream.settimeout(within_s)
            stream.sendall(self._request(path, headers, body))
            answer, more = self._answer(used)
        except Broken:
            self.close()
            raise
        except (OSError, UnicodeError) as problem:  # a name that is no name is a UnicodeError
            self.close()
            gone = used and isinstance(problem, (BrokenPipeError, ConnectionResetError))
            raise (Gone if gone else Broken)(_in_words(problem)) from None
        except BaseException:
            self.close()
            raise
        if not more:
            self.close()
        return answer

    def _open(self) -> socket.socket:
        where = (self.address.host, self.address.port)
        stream = socket.create_connection(where, timeout=CONNECT_S)
        try:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.address.secure:
                stream = self._trust().wrap_socket(stream, server_hostname=self.address.host)
        except BaseException:
            stream.close()
            raise
        self._socket = stream
        return stream

    def _request(self, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"POST {self.address.prefix}{path} HTTP/1.1", f"Host: {self.address.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + body

    def _answer(self, used: bool) -> tuple[Answer, bool]:
        """And whether the connection may be used again."""
        status, minor, headers = self._head(used)
        while 100 <= status < 200:
            status, minor, headers = self._head(used=False)
        closes = "close" in headers.get("connection", "").lower() or minor == b"0"
        if status in (204, 304):
            return Answer(status, headers, b""), not closes
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return Answer(status, headers, self._chunks()), not closes
        length = headers.get("content-length")
        if length is None:
            return Answer(status, headers, self._rest()), False
        if not (length.isascii() and length.isdigit()) or len(length) > 9 or int(length) > LONGEST_BODY:
            raise Broken(f"the answer's length is {length[:20]!r}")
        return Answer(status, headers, self._exactly(int(length))), not closes

    def _head(self, used: bool) -> tuple[int, bytes, dict[str, str]]:
        first = self._line(LONGEST_HEAD, gone=used)
        found = _STATUS.fullmatch(first)
        if not found:
            raise Broken("what answers there does not speak HTTP")
        headers: dict[str, str] = {}
        size = len(first)
        while True:
            line = self._line(LONGEST_HEAD - size)
            size += len(line) + 2
            if not line:
                return int(found[2]), found[1], headers
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()

    def _chunks(self) -> bytes:
        parts, size = [], 0
        while True:
            found = _SIZE.fullmatch(self._line(LONGEST_HEAD))
            if not found:
                raise Broken("the answer's chunks are garbled")
            chunk = int(found[1], 16)
            size += chunk
            if size > LONGEST_BODY:
                raise Broken("the answer is too long")
            if chunk:
                parts.append(self._exactly(chunk))
            while self._line(LONGEST_HEAD) and not chunk:
                pass  # trailers
            if not chunk:
                return b"".join(parts)

    def _line(self, most: int, gone: bool = False) -> bytes:
        while b"\n" not in self._left:
            if len(self._left) > most:
                raise Broken("the answer's head is too long")
            self._more(gone and not self._left)
        line, _, self._left = self._left.partition(b"\n")
        return line.rstrip(b"\r")

    def _exactly(self, size: int) -> bytes:
        while len(self._left) < size:
            self._more()
        found, self._left = self._left[:size], self._left[size:]
        return found

    def _rest(self) -> bytes:
        """All that comes until the other end closes."""
        try:
            while len(self._left) <= LONGEST_BODY:
                self._more(gone=True)
        except Gone:
            return self._left
        raise Broken("the answer is too long")

    def _more(self, gone: bool = False) -> None:
        assert self._socket
        left_s = self._deadline - self._clock()
        if left_s <= 0:
            raise Broken("no answer in time")
        self._socket.settimeout(left_s)
        data = self._socket.recv(64 * 1024)
        if not data:
            raise (Gone if gone else Broken)("it closed the connection before the answer was whole")
        self._left += data


def _in_words(problem: Exception) -> str:
    if isinstance(problem, socket.timeout):
        return "no answer in time"
    text = (getattr(problem, "strerror", None) or str(problem) or type(problem).__name__).strip()
    return f"{text}; PICLUSTER_CA_FILE says whom to trust" if "CERTIFICATE_VERIFY" in text else text
