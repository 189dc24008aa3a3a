"""Every error the package raises on purpose, in one tree.

AdminError
├── InvalidInput            exit 2   HTTP 422
│   ├── AddressRefused
│   └── InvalidFile
├── NotFound                     3        404
│   ├── ServerNotFound
│   └── ModelNotFound
├── Conflict                     4        409
│   ├── ServerExists
│   ├── ServerInactive
│   ├── FileConflict
│   ├── StateChanged                      412
│   ├── ModelAmbiguous
│   └── RemoteNotAllowed
├── DatabaseUnavailable          5        503
│   ├── DatabaseBusy
│   └── SchemaOutOfDate
├── SecretUnavailable            5        503
├── LimitReached                 6        429
├── RequestCancelled             6        499
├── UpstreamError                6        502
│   ├── ServerUnreachable
│   ├── ServerUnauthorized
│   ├── ServerBusy                        503
│   ├── RequestRefused                    400
│   ├── PromptTooLong                     422
│   ├── ServerFull                        507
│   ├── StreamInterrupted
│   └── ModelMismatch                     409
├── PendingMigrations            8        503
└── DemoFailed                   1        500

The code is a stable name that scripts may match. Messages are lower case, name the object and carry
no secret; text that came from a server or a file is escaped where it is printed, not here.
"""

from collections.abc import Sequence
from typing import ClassVar, Self


class AdminError(Exception):
    """What failed, on what (`message`), and what to do next (`hint`, None when there is nothing to
    do). `summary` is the message without the words of a server, which may repeat a prompt; `lines`
    are how people read it.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.summary = message
        self.lines: tuple[str, ...] = (message,)
        self.hint = hint

    @classmethod
    def of_lines(cls, lines: Sequence[str], hint: str | None = None) -> Self:
        """One error that says several things, each in a line of its own where people read it."""
        error = cls("; ".join(lines), hint)
        error.lines = tuple(lines)
        return error

    def document(self) -> dict[str, str | None]:
        """The JSON object under `error`."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class InvalidInput(AdminError):
    code = "invalid_input"
    exit_code = 2
    http_status = 422


def all_of(errors: tuple[InvalidInput, ...]) -> InvalidInput:
    """One error that says all of several."""
    if len(errors) == 1:
        return errors[0]
    messages = [error.message for error in errors]
    return InvalidInput("; ".join(messages), errors[0].hint)


class AddressRefused(InvalidInput):
    code = "address_refused"


class InvalidFile(InvalidInput):
    """A file with mistakes, each of which is one of its `lines`."""

    code = "invalid_file"


class NotFound(AdminError):
    code = "not_found"
    exit_code = 3
    http_status = 404


class ServerNotFound(NotFound):
    code = "server_not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class Conflict(AdminError):
    code = "conflict"
    exit_code = 4
    http_status = 409


class ServerExists(Conflict):
    """`existing_id` is the row that is in the way, None when it was added at this very moment."""

    code = "server_exists"

    def __init__(
        self, message: str, hint: str | None = None, *, existing_id: int | None = None
    ) -> None:
        super().__init__(message, hint)
        self.existing_id = existing_id


class ServerInactive(Conflict):
    code = "server_inactive"


class FileConflict(Conflict):
    """What a file wants and may not have, each of it one of its `lines`."""

    code = "file_conflict"


class StateChanged(Conflict):
    """Somebody else has changed what was to be changed."""

    code = "state_changed"
    http_status = 412


class ModelAmbiguous(Conflict):
    code = "model_ambiguous"


class RemoteNotAllowed(Conflict):
    code = "remote_not_allowed"


class DatabaseUnavailable(AdminError):
    code = "database_unavailable"
    exit_code = 5
    http_status = 503


class DatabaseBusy(DatabaseUnavailable):
    code = "database_busy"


class SchemaOutOfDate(DatabaseUnavailable):
    code = "schema_out_of_date"


class SecretUnavailable(AdminError):
    code = "secret_unavailable"
    exit_code = 5
    http_status = 503


class LimitReached(AdminError):
    """A limit of the key. `seconds` until it may be asked again; `is_spent` says that it is no use
    before, of a budget that lasts for a day.
    """

    code = "limit_reached"
    exit_code = 6
    http_status = 429

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        seconds: float = 1.0,
        is_spent: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.seconds = seconds
        self.is_spent = is_spent


class RequestCancelled(AdminError):
    """Somebody ended the request. No client tries again after that status."""

    code = "request_cancelled"
    exit_code = 6
    http_status = 499


class UpstreamError(AdminError):
    """`may_pass_on` says that no model can be at work on the request, so that another server may be
    asked instead. `said` is what the server said, the end of the message.
    """

    code = "upstream_error"
    exit_code = 6
    http_status = 502

    def __init__(
        self, message: str, hint: str | None = None, *, may_pass_on: bool = False, said: str = ""
    ) -> None:
        super().__init__(f"{message}{said}", hint)
        self.summary = message
        self.may_pass_on = may_pass_on


class ServerUnreachable(UpstreamError):
    code = "server_unreachable"


class ServerUnauthorized(UpstreamError):
    code = "server_unauthorized"


class ServerBusy(UpstreamError):
    code = "server_busy"
    http_status = 503


class ServerFull(UpstreamError):
    """The server's disk has no room for what it was to pull."""

    code = "server_full"
    http_status = 507


class RequestRefused(UpstreamError):
    """The server takes the request for a wrong one: the same again would be refused again."""

    code = "request_refused"
    http_status = 400


class PromptTooLong(UpstreamError):
    code = "prompt_too_long"
    http_status = 422


class StreamInterrupted(UpstreamError):
    code = "stream_interrupted"


class ModelMismatch(UpstreamError):
    code = "model_mismatch"
    http_status = 409


class PendingMigrations(AdminError):
    code = "migrations_pending"
    exit_code = 8
    http_status = 503


class DemoFailed(AdminError):
    """A step of the demo ended otherwise than the demo says it does."""

    code = "demo_failed"
