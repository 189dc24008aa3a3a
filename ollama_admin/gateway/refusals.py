"""Requests that are refused before a use case hears of them."""

from collections.abc import Mapping


class Refused(Exception):
    """What is wrong with a request, as HTTP says it: `status`, a sentence, what to do, headers.
    `code` is for a status that means several things.
    """

    def __init__(
        self,
        status: int,
        message: str,
        hint: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint
        self.headers = dict(headers or {})
        self.code = code
