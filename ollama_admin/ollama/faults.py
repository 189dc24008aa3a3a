"""Turns errors of HTTP into ours: failed connections, refusals, and answers that cannot be read."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.secret import MASK
from ollama_admin.domain.servers import ApiVersion, Target
from ollama_admin.errors import (
    AdminError,
    ModelNotFound,
    PromptTooLong,
    RequestRefused,
    ServerBusy,
    ServerUnauthorized,
    ServerUnreachable,
    UpstreamError,
)
from ollama_admin.ollama import wire
from ollama_admin.ollama.response import (
    Answer,
    AnswerLate,
    BadAnswer,
    ConnectionBroken,
    ConnectionClosed,
    ConnectionFault,
    ConnectLate,
    HandshakeLate,
    ImproperAnswer,
    NotConnected,
    OwnFileFault,
    PoolFull,
    ProxyFault,
    Sending,
    WebPage,
    WriteLate,
    page_title,
    read_json,
)

ERROR_TEXT_LIMIT = 500  # characters of what a server says
# a full queue, or a proxy whose server is away: the request was not taken on
AWAY = (502, 503, 504)
WRONG_REQUEST = (400, 413, 415, 422)  # what would be answered to the same again
UNTRUSTED = "its TLS certificate was not accepted"
NO_RUNNER = "process has terminated"  # in a 500: the process that was to answer did not start

# of statuses that no Ollama server sends, but a proxy before it
_PROXY_HINTS = {
    413: "the proxy in front of the server accepts no body this long: raise its limit (nginx: "
    "client_max_body_size)",
    504: "the proxy in front of the server gave up while a model may still be loading: "
    "raise its read timeout (nginx: proxy_read_timeout)",
}
_NO_HANDSHAKE = "the TLS handshake failed; does the port speak https?"
_TLS_WORDS = (
    b"HTTP request was sent to HTTPS port",
    b"HTTP request to an HTTPS server",
    b"speaking plain HTTP to an SSL-enabled server port",
)
_SILENCE = "timed out waiting for data"
_UNKNOWN_HOST = "its host name is not known"
_SILENCES = (_SILENCE, "timed out after")
_PHASES: tuple[tuple[tuple[type[ConnectionFault], ...], str], ...] = (
    ((ProxyFault,), "the proxy does not forward requests"),
    ((HandshakeLate,), _NO_HANDSHAKE),
    ((ConnectLate,), "connecting timed out"),
    ((PoolFull,), "no connection became free"),
    ((AnswerLate,), _SILENCE),
    ((WriteLate,), "sending the request timed out"),
    (
        (ImproperAnswer, ConnectionClosed),
        "the answer is not valid HTTP, or the connection was closed",
    ),
    ((ConnectionBroken,), "the connection broke"),
)


@contextmanager
def translated(target: Target, path: str, sending: Sending | None = None) -> Iterator[None]:
    """Raise UpstreamError and what is under it for ConnectionFault and BadAnswer; others pass.

    `may_pass_on` is False where `sending` says that the server may be at work on the request.
    """
    try:
        yield
    except Exception as exc:
        error = translation(exc, target, path, sending)
        if error is None:
            raise
        raise error from exc


def translation(
    exc: BaseException, target: Target, path: str, sending: Sending | None = None
) -> UpstreamError | None:
    """What `translated` raises for an exception, None where that passes."""
    if isinstance(exc, ConnectionFault):
        may_pass_on = sending is None or not sending.is_whole
        error = unreachable(target, _reason(exc), may_pass_on=may_pass_on)
        if isinstance(exc, OwnFileFault):
            error.hint = f"see the files of: ollama-admin server show {target.ref.word}"
        return error
    if isinstance(exc, WebPage):
        message = f"server {target.ref}, {path}: {scrubbed(str(exc), target)}"
        hint = "another program or a login page answers there: check the URL's port and path"
        return UpstreamError(message, hint)
    if isinstance(exc, BadAnswer):
        message = f"server {target.ref}, {path}: {scrubbed(str(exc), target)}"
        return UpstreamError(message, "is it an Ollama server?")
    return None


def unreachable(target: Target, reason: str, *, may_pass_on: bool) -> ServerUnreachable:
    """The error of a server that gave no answer, with what usually helps as a hint."""
    message = f"{_cannot_be_reached(target)}{reason}"
    return ServerUnreachable(message, _connection_hint(target, reason), may_pass_on=may_pass_on)


def reason_of(error: ServerUnreachable, target: Target) -> str:
    """The reason that `unreachable` was given, for a message that says the rest otherwise."""
    return error.message.removeprefix(_cannot_be_reached(target))


def refused(target: Target, path: str, answer: Answer, model: str | None) -> AdminError:
    """The error that an answer other than 200 means; `model` is the one that was asked for.

    `may_pass_on` is True where the request was not taken on.
    """
    refusal = _refusal(answer.body)
    explanation = ""
    if refusal.text:
        explanation = f": {scrubbed(refusal.text, target)}"
    if refusal.prompt_too_long:
        return _prompt_too_long(target, refusal)
    if 300 <= answer.status < 400:
        return _redirected(target, path, answer.location)
    if answer.status == 401 or (answer.status == 403 and not refusal.text):
        return _unauthorized(target, answer, explanation)
    is_away = answer.status in AWAY or (answer.status == 500 and NO_RUNNER in refusal.text)
    if answer.status in (429, 503):
        message = f"server {target.ref} is busy ({answer.status})"
        return ServerBusy(message, "try again later", may_pass_on=is_away, said=explanation)
    if answer.status == 404 and model is not None and refusal.text:
        return _model_not_found(target, model)
    if answer.status in (404, 405) and not refusal.text:
        return _path_not_known(target, path, answer.status)
    message = f"server {target.ref} answered {answer.status} to {path}"
    https_hint = _https_hint(target, answer)
    hint = https_hint or _PROXY_HINTS.get(answer.status)
    if not refusal.text and (title := page_title(answer.body)):
        explanation = f": {scrubbed(title, target)}"
    if answer.status in WRONG_REQUEST and model is not None and https_hint is None:
        return RequestRefused(message, hint, said=explanation)
    return UpstreamError(message, hint, may_pass_on=is_away, said=explanation)


def scrubbed(text: str, target: Target) -> str:
    """The beginning of what a server says, without the credentials that were sent to it.

    It is cut last: a credential cut in two would not be recognised.
    """
    if target.secrets:
        forms = "|".join(re.escape(secret.reveal()) for secret in target.secrets)
        text = re.sub(forms, MASK, text, flags=re.IGNORECASE)
    return text[:ERROR_TEXT_LIMIT]


def harmless(event: StreamEvent, target: Target) -> StreamEvent:
    """The event, without the credentials that were sent to the server in what it says."""
    if event.error is None:
        return event
    return replace(event, error=scrubbed(event.error, target))


def scrubbed_bytes(body: bytes, target: Target) -> bytes:
    """What a server says, without the credentials that were sent to it."""
    for secret in target.secrets:
        body = re.sub(re.escape(secret.reveal().encode()), MASK.encode(), body, flags=re.IGNORECASE)
    return body


def _https_hint(target: Target, answer: Answer) -> str | None:
    """What to do where a port that speaks TLS says so, as nginx, Apache and programs in Go do."""
    url = target.ref.url
    if not url.startswith("http://") or not any(words in answer.body for words in _TLS_WORDS):
        return None
    return f"that port speaks https: {_other_url(target, url.replace('http://', 'https://', 1))}"


def _other_url(target: Target, url: str) -> str:
    """What to type to ask a server at another URL."""
    if target.ref.id is None:
        return url
    return f"ollama-admin server update {target.ref.word} --url {url}"


def _cannot_be_reached(target: Target) -> str:
    server = target.ref.url
    if target.ref.name:
        server = f"{target.ref.name} ({target.ref.url})"
    return f"server {server} cannot be reached: "


def _connection_hint(target: Target, reason: str) -> str:
    url = urlsplit(target.ref.url)
    if reason == _NO_HANDSHAKE:
        plain = _other_url(target, f"http://{url.netloc}{url.path}")
        return f"if that port speaks plain http: {plain}"
    if reason.startswith(UNTRUSTED):
        return (
            "name a file with its own certificate, or its authority's, in OLLAMA_ADMIN_CA_FILE; "
            "the URL's host must be in the certificate"
        )
    if reason.startswith(_SILENCES):
        return (
            "something listens there but stays silent: it hangs, is loading a model, or is not "
            "Ollama"
        )
    if reason == _UNKNOWN_HOST:
        return "check the spelling of the host name, and that this machine can resolve it"
    if url.scheme == "http" and url.port is None:
        right_url = _other_url(target, f"http://{url.netloc}:11434{url.path}")
        return f"the URL means port 80; Ollama listens on 11434: {right_url}"
    if url.hostname in ("localhost", "127.0.0.1", "::1"):
        return (
            "start it; inside a container, localhost is the container itself: try "
            "host.docker.internal"
        )
    return "check that it is running and that this machine may connect to it"


def _refusal(body: bytes) -> wire.Refusal:
    try:
        return wire.refusal(read_json(body))
    except BadAnswer:
        return wire.Refusal(text="")


def _prompt_too_long(target: Target, refusal: wire.Refusal) -> PromptTooLong:
    message = f"the prompt does not fit into the model's context on server {target.ref}"
    if refusal.prompt_tokens and refusal.context_tokens:
        message += f": {refusal.prompt_tokens} tokens, the context has {refusal.context_tokens}"
    hint = (
        "give it a larger context with --option num_ctx=N, or let it be cut with --allow-truncate"
    )
    return PromptTooLong(message, hint)


def _redirected(target: Target, path: str, location: str | None) -> UpstreamError:
    host = scrubbed(_host(location), target)
    message = f"server {target.ref} redirects {path} to {host}; redirects are not followed"
    return UpstreamError(message, "register the server under a URL that answers without a redirect")


def _host(location: str | None) -> str:
    try:
        return urlsplit(location or "").hostname or "elsewhere"
    except ValueError:
        return "elsewhere"


def _unauthorized(target: Target, answer: Answer, explanation: str) -> ServerUnauthorized:
    hint = "a proxy in front of it wants credentials"
    option = _options_for(answer.challenge)
    if target.secrets:
        hint, option = "it did not accept the credentials; give others", "--secret-stdin"
    if target.ref.id:
        hint += f": ollama-admin server update {target.ref.word} {option}"
    elif not target.secrets:
        hint += f": add {option}"
    if answer.status == 403:
        hint += "; or it refuses this host name: see OLLAMA_HOST on the server"
    message = f"server {target.ref} refused the request ({answer.status}){explanation}"
    return ServerUnauthorized(message, hint)


def _options_for(challenge: str | None) -> str:
    """The options for what a header `WWW-Authenticate` asks for."""
    scheme = (challenge or "").strip().partition(" ")[0].casefold()
    if scheme == "basic":
        return "--auth basic --username YOU"
    if scheme == "bearer":
        return "--auth bearer"
    return "--auth basic --username YOU, --auth bearer or --auth api_key"


def _model_not_found(target: Target, model: str) -> ModelNotFound:
    hint = None
    if target.ref.id:
        hint = f"read again what it holds with: ollama-admin discover {target.ref.word}"
    return ModelNotFound(f"server {target.ref} has no model {model!r}", hint)


def _path_not_known(target: Target, path: str, status: int) -> UpstreamError:
    hint = None
    if target.api_version is ApiVersion.NATIVE:
        hint = "it may speak v1 (--api-version v1), or the path in its URL is wrong"
    return UpstreamError(f"server {target.ref} does not know {path} ({status})", hint)


def _reason(exc: Exception) -> str:
    """The system's own reason where there is one below the exception."""
    if isinstance(exc, OwnFileFault):
        return str(exc)
    for cause in _causes(exc):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{UNTRUSTED} ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            if isinstance(exc, (NotConnected, ConnectLate)):
                return _NO_HANDSHAKE
            continue  # waiting for more bytes is one too; its number is none of the system's
        if isinstance(cause, socket.gaierror):
            return _UNKNOWN_HOST
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            return os.strerror(cause.errno).lower()
    return next((text for kinds, text in _PHASES if isinstance(exc, kinds)), "the request failed")


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The exceptions below `exc`, nearest first, groups opened."""
    yield exc
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _causes(inner)
    below = exc.__cause__ or exc.__context__
    if below is not None:
        yield from _causes(below)
