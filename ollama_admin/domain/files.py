"""Files that are named from outside: read without waiting for a writer, and trusted only where
nobody else can change them.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ollama_admin.errors import InvalidInput

_WITHOUT_WAITING = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclass(frozen=True, kw_only=True)
class Pasted(os.PathLike[str]):
    """The text of a file that somebody pasted, under the name by which messages call it. It may
    hold secrets.
    """

    name: str
    text: str = field(repr=False)

    def __fspath__(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFile:
    """The bytes of a regular file, and what the file system said of it when it was opened."""

    what: str
    path: Path
    data: bytes
    status: os.stat_result

    def require_own(self, *, beside: Path | None = None) -> None:
        """Raise InvalidInput when another user than root owns the file or may write to it.

        `beside` is a file that it belongs to: whoever owns that one may own this one, too, and a
        group that may write to that one may write to this one. Who may read it does not matter
        here: container platforms mount secrets readable by all.
        """
        companion = _status(beside)
        owners = {0, os.geteuid()}
        if companion is not None:
            owners.add(companion.st_uid)
        if self.status.st_uid not in owners:
            raise InvalidInput(
                f"{self._described} belongs to user {self.status.st_uid}, who can change it",
                f"run: chown {os.geteuid()} {self.path}",
            )
        if self.status.st_mode & _foreign_writers(self.status, companion):
            raise InvalidInput(
                f"{self._described} can be changed by other users", f"run: chmod go-w {self.path}"
            )

    @property
    def _described(self) -> str:
        return f"the {self.what} {self.path} (mode {stat.S_IMODE(self.status.st_mode):04o})"


def read_regular_file(
    path: Path, limit: int, what: str = "file", *, hint: str = "check the path and its permissions"
) -> ReadFile:
    """Read a file of at most `limit` bytes; raises InvalidInput for a larger one, for one that
    cannot be read, and for a FIFO, a device or a folder, without waiting for it. `what` is what
    messages call it, `hint` what to do where it cannot be read.
    """
    try:
        data, status = _regular_bytes(path, limit + 1)
    except IsADirectoryError as exc:
        message = f"the {what} {path} is not a regular file"
        raise InvalidInput(message, "name a file, not a pipe or a device") from exc
    except OSError as exc:
        message = f"the {what} {path} cannot be read: {exc.strerror}"
        raise InvalidInput(message, hint) from exc
    except ValueError as exc:
        raise InvalidInput(f"{str(path)!a} is not a path") from exc
    if len(data) > limit:
        raise InvalidInput(f"the {what} {path} is longer than {limit // 1024} KiB")
    return ReadFile(what=what, path=path, data=data, status=status)


def _regular_bytes(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """At most so many bytes of a regular file, and what it was when it was opened. Raises OSError:
    IsADirectoryError for a FIFO and a device, too, without waiting for them; ValueError for a path
    with a NUL.
    """
    with os.fdopen(os.open(path, _WITHOUT_WAITING), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError
        return file.read(most), status


def _status(path: Path | None) -> os.stat_result | None:
    if path is None:
        return None
    try:
        return path.stat()
    except OSError:
        return None


def _foreign_writers(status: os.stat_result, companion: os.stat_result | None) -> int:
    """The mode bits that would let another user write."""
    if companion is not None and companion.st_gid == status.st_gid:
        return stat.S_IWOTH | (stat.S_IWGRP & ~companion.st_mode)
    return stat.S_IWOTH | stat.S_IWGRP
