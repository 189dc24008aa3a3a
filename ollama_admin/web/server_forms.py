"""The form of a server, as the columns that services take."""

from collections.abc import Callable, Mapping
from typing import Any

from ollama_admin.domain.labels import label, spelt
from ollama_admin.domain.secret import Secret
from ollama_admin.domain.servers import OPEN_FIELDS, SECRET_FIELDS, AuthType, Server
from ollama_admin.errors import InvalidInput
from ollama_admin.services.server_columns import require_plain_secret
from ollama_admin.web.visit import Form

KEPT = "keep"  # the choice that leaves the credentials as they are


def new_columns(form: Form) -> dict[str, Any]:
    """The columns of a new server. Raises InvalidInput for a field that cannot be read."""
    columns = form.given(_READERS)
    columns.setdefault("name", "")
    columns.setdefault("url", "")
    columns["labels"] = _labels(form)
    columns["capabilities"] = _words(form, "capabilities")
    columns["is_default"] = bool(form.text("is_default"))
    return columns | _credentials(form)


def changes(form: Form, before: Server) -> dict[str, Any]:
    """What a form changes of a row, with `clear` for what it empties."""
    columns = new_columns(form)
    columns["is_active"] = bool(form.text("is_active"))
    left = _labels(form)
    gone = dict.fromkeys(key for key in before.labels if key not in left)
    columns["labels"] = left | gone
    clear = []
    if "default_model" not in columns:
        clear.append("default_model")
    if not columns["capabilities"]:
        clear.append("capabilities")
        del columns["capabilities"]
    return columns | {"clear": clear}


def filled(server: Server) -> Mapping[str, Any]:
    """The fields of the form of a row."""
    return {
        "name": server.name,
        "url": server.url,
        "max_concurrent": server.max_concurrent,
        "priority": server.priority,
        "default_model": server.default_model or "",
        "labels": "\n".join(spelt(server.labels)),
        "capabilities": "\n".join(server.capabilities),
        "is_default": server.is_default,
        "is_active": server.is_active,
        "auth_type": KEPT,
        "subject": "",
        "state": server.state,
    }


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError as exc:
        raise InvalidInput(f"{text[:100]!a} is no whole number") from exc


_READERS: dict[str, Callable[[str], Any]] = {
    "name": str,
    "url": str,
    "max_concurrent": whole,
    "priority": whole,
    "default_model": str,
}


def _labels(form: Form) -> dict[str, str | None]:
    return dict(label(text) for text in _words(form, "labels"))


def _words(form: Form, name: str) -> list[str]:
    """One a line."""
    return [word.strip() for word in form.text(name).splitlines() if word.strip()]


def _credentials(form: Form) -> dict[str, Any]:
    chosen = form.text("auth_type", KEPT)
    if chosen == KEPT:
        return {}
    if chosen not in set(AuthType):
        raise InvalidInput(f"{chosen[:100]!a} is no kind of credentials")
    kind = AuthType(chosen)
    if kind is AuthType.NONE:
        return {"auth_type": kind}
    secret = form.text("secret")
    require_plain_secret("secret", secret)
    config: dict[str, Any] = {SECRET_FIELDS[kind]: Secret(secret)}
    if kind in OPEN_FIELDS and form.text("subject"):
        config[OPEN_FIELDS[kind]] = form.text("subject").strip()
    return {"auth_type": kind, "auth_config": config}
