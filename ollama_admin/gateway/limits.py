"""How much of everything clients may send, each and all together."""

import re
from dataclasses import dataclass

from ollama_admin.gateway.refusals import Refused

HELD = "ollama_admin.held"  # in the scope: the Held of the request
ADMITTED = "ollama_admin.admitted"  # in the scope of a request that came with a key
LONG = 2**17  # bytes; what is longer is not read on the loop
# Values of one body, counted by what opens or parts them, commas of texts too.
VALUES_LIMIT = 1_000_000
VALUE_SIZE = 70  # bytes of memory that `{},` takes
# One letter beyond 16 bits, and each of its text takes four bytes.
_WIDEST = re.compile(rb"[\xf0-\xf4]|\\u[dD][89abAB]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes and seconds. `body_large` is for prompts, which come with images; `bodies` is for those
    of all requests together, with the values that are read from them.
    """

    connections: int = 4096
    body: int = 2**20
    body_large: int = 64 * 2**20
    bodies: int = 256 * 2**20
    handshake_time: float = 10.0
    head_time: float = 10.0
    body_time: float = 120.0
    body_idle: float = 10.0
    write_idle: float = 120.0  # a client that reads nothing for so long has left

    def of(self, path: str) -> int:
        """Bytes that a body for the REST API's path may have."""
        if path in ("/api/generate", "/api/chat", "/api/route"):
            return self.body_large
        return self.body


class Room:
    """Bytes that the bodies of all requests may take together."""

    def __init__(self, size: int) -> None:
        self.free = size


class Held:
    """What one request takes of the room until its answer has ended."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def take(self, size: int) -> None:
        """Refused where so many bytes are not free now."""
        if size > self._room.free:
            raise Refused(
                503,
                "the bodies of other requests take up all the memory set aside for them",
                "try again later",
            )
        self._room.free -= size
        self._taken += size

    def give_back(self) -> None:
        self._room.free += self._taken
        self._taken = 0


def count_of_values(body: bytes) -> int:
    """At least as many as there are in JSON; Refused for too many."""
    count = sum(map(body.count, (b",", b"[", b"{")))
    if count > VALUES_LIMIT:
        raise Refused(413, f"the body holds more than {VALUES_LIMIT} values")
    return count


def size_of_values(body: bytes) -> int:
    """Bytes of memory that the values of its JSON may take, texts too; Refused for too many."""
    width = 1
    if _WIDEST.search(body):
        width = 4
    elif b"\\u" in body or not body.isascii():
        width = 2
    return count_of_values(body) * VALUE_SIZE + len(body) * width


def too_large(most: int) -> Refused:
    return Refused(413, f"the body is longer than {most} bytes", headers={"Connection": "close"})
