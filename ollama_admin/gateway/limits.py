"""How much of everything clients may send, each and all together."""

from dataclasses import dataclass
from typing import Self

from ollama_admin.domain.strict_json import width
from ollama_admin.gateway.refusals import Refused

HELD = "ollama_admin.held"  # in the scope: the Held of the request
ADMITTED = "ollama_admin.admitted"  # in the scope of a request that came with a key
LONG = 2**17  # bytes; what is longer is not read on the loop
# Values of one body, counted by what opens or parts them, commas of texts too.
VALUES_LIMIT = 1_000_000
VALUE_SIZE = 70  # bytes of memory that `{},` takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes and seconds. `body_large` is for prompts, which come with images, and for fleet files;
    `bodies` is for those of all requests together, with the values that are read from them,
    `answers` for what is kept of all answers until they have ended.
    """

    connections: int = 4096
    body: int = 2**20
    body_large: int = 64 * 2**20
    bodies: int = 256 * 2**20
    answers: int = 8 * 2**20 + 2**16
    handshake_time: float = 10.0
    head_time: float = 10.0
    body_time: float = 120.0
    body_idle: float = 10.0
    write_idle: float = 120.0  # a client that reads nothing for so long has left

    def of(self, path: str) -> int:
        """Bytes that a body for the REST API's path may have."""
        if path in _LARGE:
            return self.body_large
        return self.body


# of prompts, which come with images, and of fleet files
_LARGE = ("/api/generate", "/api/chat", "/api/route", "/api/plan", "/api/apply")


class Room:
    """Bytes that the bodies of all requests, or what is kept of all answers, may take together.
    `what` is that, of others; `too_large` the status of one that can never fit.
    """

    def __init__(self, size: int, what: str = "bodies of", too_large: int = 413) -> None:
        self.size = self.free = size
        self.what = what
        self.too_large = too_large


@dataclass(frozen=True, slots=True)
class Rooms:
    bodies: Room
    answers: Room

    @classmethod
    def of(cls, limits: Limits) -> Self:
        return cls(Room(limits.bodies), Room(limits.answers, "answers to", 502))


class Held:
    """What one request takes of the room until its answer has ended."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def take(self, size: int) -> None:
        """Refused where so many bytes are not free now, or never will be."""
        room = self._room
        if self._taken + size > room.size:
            raise Refused(
                room.too_large,
                f"it takes more memory than the {room.what} all requests may take together",
                headers={"Connection": "close"},
            )
        if size > room.free:
            raise Refused(
                503,
                f"the {room.what} other requests take up all the memory set aside for them",
                "try again later",
            )
        room.free -= size
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
    return count_of_values(body) * VALUE_SIZE + len(body) * width(body)


def too_large(most: int) -> Refused:
    return Refused(413, f"the body is longer than {most} bytes", headers={"Connection": "close"})
