"""Calls that change what a server holds, and what it has in memory. Each names one server; no other
one is asked.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ollama_admin.domain.pulls import PullRecord
from ollama_admin.domain.servers import Target
from ollama_admin.errors import (
    AdminError,
    ModelNotFound,
    RequestRefused,
    ServerFull,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.ollama import wire
from ollama_admin.ollama.calls import json_body
from ollama_admin.ollama.endpoint import JSON_HEADERS, Endpoint
from ollama_admin.ollama.faults import reason_of, scrubbed, translated
from ollama_admin.ollama.response import Patience, PieceTimer, lines, read_json, read_whole
from ollama_admin.rules.pulling import PullTally

PULL = "/api/pull"
QUIET = 3  # times as long as for a first byte: the digest of a large model takes that to be checked
AGAIN = "pull it again: it goes on where it stopped"

BRIEF = Patience(first_byte=60.0, idle=60.0)  # of what takes as long as a disk does
_ONLY_VECTORS = "does not support generate"  # of a model that is for vectors alone
_FULL = ("no space left on device", "not enough space on the disk", "disk quota exceeded")
_UNKNOWN = "file does not exist"


async def pull(
    endpoint: Endpoint, model: str, tally: PullTally
) -> AsyncGenerator[PullRecord, None]:
    """The records of a pull, each counted in `tally`, up to the one that says that it is done.
    Closing the generator stops asking; the server keeps what it has.

    Raises what `Endpoint.stream` raises before the first record, and after it StreamInterrupted,
    ServerFull, ModelNotFound for a name that the registry does not have, and UpstreamError.
    """
    target, has_begun = endpoint.target, False
    try:
        async with aclosing(_records(endpoint, model, tally)) as records:
            async for record in records:
                has_begun = True
                tally.add(record)
                yield record
                if record.is_success:
                    return
    except ServerUnreachable as exc:
        if not has_begun:
            raise
        reason = reason_of(exc, target)
        raise _broken(target, model, tally, f"broke off the pull: {reason}") from exc
    raise _broken(target, model, tally, "ended the pull without a word of success")


async def delete(endpoint: Endpoint, model: str) -> None:
    """Delete a model at the server; what is loaded of it stays in memory. Raises ModelNotFound."""
    await _done(endpoint, "DELETE", "/api/delete", {"model": model}, model, BRIEF)


async def copy(endpoint: Endpoint, source: str, destination: str) -> None:
    """Give a model a second name, whatever that stood for. Raises ModelNotFound."""
    body = {"source": source, "destination": destination}
    await _done(endpoint, "POST", "/api/copy", body, source, BRIEF)


async def keep(endpoint: Endpoint, model: str, keep_alive: float | str | None) -> None:
    """Have a model in memory for so long, without a prompt; 0 lets it go. None leaves the time to
    the server. Raises ModelNotFound, RequestRefused and what else keeps it from being loaded.
    """
    body: dict[str, Any] = {"model": model, "stream": False}
    if keep_alive is not None:
        body["keep_alive"] = keep_alive
    try:
        await _done(endpoint, "POST", "/api/generate", body, model)
    except RequestRefused as exc:
        if _ONLY_VECTORS not in exc.message:
            raise
        await _done(endpoint, "POST", "/api/embed", body | {"input": []}, model)


async def _done(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: dict[str, Any],
    model: str,
    patience: Patience | None = None,
) -> None:
    """Make a call whose answer says nothing but that it was done."""
    asking = endpoint.stream(
        method, path, headers=JSON_HEADERS, body=json_body(body), patience=patience, model=model
    )
    async with asking as response:
        answer = await read_whole(response, path)
        with translated(endpoint.target, path):
            _refuse_error(endpoint.target, path, answer.body)


def _refuse_error(target: Target, path: str, body: bytes) -> None:
    """Raise the error that an answer of 200 brings."""
    if not body.strip():
        return
    document = read_json(body)
    if isinstance(document, dict) and "error" in document:
        text = scrubbed(wire.refusal(document).text, target)
        raise UpstreamError(f"server {target.ref} failed at {path}", said=f": {text}")


async def _records(
    endpoint: Endpoint, model: str, tally: PullTally
) -> AsyncGenerator[PullRecord, None]:
    """The records of a pull as they come, with an error of the server raised. While layers come a
    server is never silent; while it checks their digest, it is.
    """
    target, usual = endpoint.target, endpoint.patience
    quiet = None if usual.first_byte is None else QUIET * usual.first_byte
    asking = endpoint.stream(
        "POST",
        PULL,
        headers=JSON_HEADERS,
        body=json_body({"model": model, "stream": True}),
        patience=Patience(first_byte=usual.first_byte, idle=quiet),
        model=model,
    )
    timer = PieceTimer()
    async with asking as response, aclosing(lines(response.chunks)) as records:
        try:
            while True:
                seconds = usual.idle if tally.is_downloading else None
                with translated(target, PULL):
                    line = await timer.next_of(records, seconds)
                    record = read_json(line)
                yield _record(target, model, record)
        except StopAsyncIteration:
            return
        except TimeoutError as exc:
            reason = f"sent nothing for {usual.idle:g} s in the middle of the pull"
            raise _broken(target, model, tally, reason) from exc
        finally:
            timer.close()


def _record(target: Target, model: str, document: Any) -> PullRecord:
    with translated(target, PULL):
        record = wire.object_of(document, "a line of the answer")
        if "error" in record:
            raise _failed(target, model, wire.refusal(record).text)
        return PullRecord(
            status=wire.optional_text(record, "status") or "",
            layer=wire.optional_text(record, "digest"),
            total=wire.count_of(record.get("total")),
            completed=wire.count_of(record.get("completed")) or 0,
        )


def _failed(target: Target, model: str, text: str) -> AdminError:
    """What the error of a pull means."""
    folded, said = text.casefold(), f": {scrubbed(text, target)}"
    if any(words in folded for words in _FULL):
        return ServerFull(
            f"server {target.ref} has no room left for {model!r}",
            f"remove something there, as with ollama-admin rm MODEL --on {target.ref.word}; "
            f"then {AGAIN}",
            said=said,
        )
    if folded.startswith("pull model manifest") and _UNKNOWN in folded:
        return ModelNotFound(
            f"server {target.ref} finds no model {model!r} in the registry",
            "check the name and its tag",
        )
    return UpstreamError(f"server {target.ref} could not pull {model!r}", AGAIN, said=said)


def _broken(target: Target, model: str, tally: PullTally, what: str) -> StreamInterrupted:
    progress = tally.progress
    return StreamInterrupted(
        f"server {target.ref} {what} (model {model!r}, {progress.share} of {progress.total} bytes)",
        AGAIN,
    )
