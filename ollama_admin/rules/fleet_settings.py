"""The fleet as the settings of other programs, so that one registry feeds them all. Pure.

No secret is written: one that a variable keeps is named as that program names variables, and what
cannot be named so is told as left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ollama_admin.domain.fleet_file import Row
from ollama_admin.domain.servers import ApiVersion, AuthType
from ollama_admin.rules.fleet_text import yaml_of

_NO_KEY = "none"  # else LiteLLM would send the key of OpenAI from its environment
_OLLA_PRIORITY = 100  # of a server whose own is 0
_EMBEDDING = "embedding"


class Tool(StrEnum):
    """Programs whose settings can be written."""

    LITELLM = "litellm"
    OPENWEBUI = "openwebui"
    OLLA = "olla"
    ENV = "env"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An active server, and the models that it lists with their capabilities."""

    row: Row
    models: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where its API begins."""
        url = str(self.row.values["url"])
        if self.is_v1:
            return f"{url}/v1"
        return url

    @property
    def is_v1(self) -> bool:
        return bool(self.row.values["api_version"] == ApiVersion.V1)

    @property
    def has_credentials(self) -> bool:
        return bool(self.row.values["auth"] or self.row.values["headers"])

    @property
    def token(self) -> str | None:
        """The variable that keeps its bearer token, where that is all it wants."""
        auth = self.row.values["auth"]
        secret = auth.get("secret", "")
        is_alone = auth.get("type") == AuthType.BEARER and not self.row.values["headers"]
        if not is_alone or not secret.startswith("env:"):
            return None
        return str(secret).removeprefix("env:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A text to be written to a file, and the servers whose credentials are not in it."""

    text: str
    without_credentials: Sequence[str]


def settings_for(tool: Tool, servers: Sequence[Served]) -> Settings:
    """The settings of one program."""
    text = _WRITERS[tool](servers)
    known = _TOKENS[tool]
    lost = [
        each.row.name
        for each in servers
        if each.has_credentials and not (each.token and known(each))
    ]
    return Settings(text=text, without_credentials=lost)


def _litellm(servers: Sequence[Served]) -> str:
    """`config.yaml` of the LiteLLM proxy: servers of one model are one group."""
    models = [
        _deployment(server, model, capabilities)
        for server in servers
        for model, capabilities in sorted(server.models.items())
    ]
    return yaml_of({"model_list": models})


def _deployment(server: Served, model: str, capabilities: Sequence[str]) -> dict[str, Any]:
    params: dict[str, Any] = {"model": f"ollama_chat/{model}", "api_base": server.url}
    entry: dict[str, Any] = {"model_name": model, "litellm_params": params}
    if server.is_v1:
        params["model"] = f"openai/{model}"
        params["api_key"] = _NO_KEY
    elif _EMBEDDING in capabilities:
        params["model"] = f"ollama/{model}"
    if _EMBEDDING in capabilities:
        entry["model_info"] = {"mode": _EMBEDDING}
    if server.token:
        params["api_key"] = f"os.environ/{server.token}"
    params["max_parallel_requests"] = server.row.values["max_concurrent"]
    return entry


def _openwebui(servers: Sequence[Served]) -> str:
    """Variables of Open WebUI, for `docker run --env-file` or a compose file."""
    native = [server.url for server in servers if not server.is_v1]
    others = [server for server in servers if server.is_v1]
    keys = [_variable(server.token) or _NO_KEY for server in others]
    lines = [
        f"ENABLE_OLLAMA_API={str(bool(native)).lower()}",
        f"OLLAMA_BASE_URLS={';'.join(native)}",
        f"ENABLE_OPENAI_API={str(bool(others)).lower()}",
        f"OPENAI_API_BASE_URLS={';'.join(server.url for server in others)}",
        f"OPENAI_API_KEYS={';'.join(keys)}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _variable(name: str | None) -> str:
    """How compose files and Olla fill in a variable."""
    if name is None:
        return ""
    return f"${{{name}}}"


def _olla(servers: Sequence[Served]) -> str:
    """The part `discovery` of Olla's configuration."""
    endpoints = [_endpoint(server) for server in servers]
    return yaml_of({"discovery": {"type": "static", "static": {"endpoints": endpoints}}})


def _endpoint(server: Served) -> dict[str, Any]:
    kind, models = "ollama", "/api/tags"
    if server.is_v1:
        kind, models = "openai-compatible", "/v1/models"
    endpoint: dict[str, Any] = {
        "url": server.row.values["url"],
        "name": server.row.name,
        "type": kind,
        "priority": max(_OLLA_PRIORITY + server.row.values["priority"], 0),
        "model_url": models,
        "health_check_url": models,
        "check_interval": "5s",
        "check_timeout": "2s",
    }
    if server.token:
        endpoint["auth"] = {"type": "bearer", "token": _variable(server.token)}
    return endpoint


def _env(servers: Sequence[Served]) -> str:
    """Numbered variables, as `import-env` and programs of that habit read them."""
    lines = []
    for number, server in enumerate(servers, 1):
        values = server.row.values
        variables = {
            "URL": server.url,
            "NAME": server.row.name,
            "MODEL": values["default_model"],
            "CAPABILITIES": ",".join(values["capabilities"]),
            "MAX_CONCURRENT": values["max_concurrent"],
            "PRIORITY": values["priority"],
        }
        lines += [
            f"OLLAMA_{name}_{number}={_quoted(str(value))}\n"
            for name, value in variables.items()
            if value not in (None, "")
        ]
    return "".join(lines)


def _quoted(text: str) -> str:
    """A value as a shell and python-dotenv read it, with nothing filled in."""
    if text.replace("-", "").replace(".", "").replace(":", "").replace("/", "").isalnum():
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def ordered(servers: Iterable[Served]) -> list[Served]:
    """Servers in the order in which a reader looks for them."""
    return sorted(servers, key=lambda each: each.row.key)


_WRITERS = {
    Tool.LITELLM: _litellm,
    Tool.OPENWEBUI: _openwebui,
    Tool.OLLA: _olla,
    Tool.ENV: _env,
}
# whether the settings of a program have a place for a server's bearer token
_TOKENS: Mapping[Tool, Callable[[Served], bool]] = {
    Tool.LITELLM: lambda _: True,
    Tool.OPENWEBUI: lambda server: server.is_v1,
    Tool.OLLA: lambda _: True,
    Tool.ENV: lambda _: False,
}
