"""Models of the simulated server, and how Ollama reads model names."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: Mapping[str, object]

    @property
    def id(self) -> str:
        return f"call_{self.name}"


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """One build: what a name of the server can stand for.

    `says` is streamed one word per chunk, and the chunks joined are `says` again. With `endless`
    it is said over and over. `num_ctx` is what its Modelfile sets. An empty `digest` is derived
    from the name, the text and `build`. A request with tools is answered with `calls`, if there are
    any, until it brings a result. `gpu_share` is the part of it that is loaded into a GPU.
    """

    name: str
    digest: str = ""
    _: KW_ONLY
    says: str = "I am alpha"
    thinking: str | None = None
    endless: bool = False
    build: str = ""
    calls: tuple[ToolCall, ...] = ()
    capabilities: tuple[str, ...] = ("completion",)
    context_length: int = 2048
    num_ctx: int | None = None
    embedding_length: int = 288
    size: int = 2_163_064
    gpu_share: float = 0
    format: str = "gguf"
    family: str = "llama"
    parameter_size: str = "539K"
    quantization_level: str = "unknown"
    remote_host: str | None = None
    remote_model: str | None = None
    modified_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __post_init__(self) -> None:
        if not self.digest:
            text = f"{self.says}\n{self.build}"
            object.__setattr__(self, "digest", derive_digest(self.name, text))


def derive_digest(name: str, build: str) -> str:
    """64 hex digits: equal for equal arguments, on every server and in every run."""
    return hashlib.sha256(f"{fold(name)}\n{build}".encode()).hexdigest()


def with_tag(name: str) -> str:
    """The name as the server lists it: `alpha` becomes `alpha:latest`."""
    if ":" in name.rpartition("/")[2]:
        return name
    return f"{name}:{DEFAULT_TAG}"


def full_name(name: str) -> str:
    """The name with every default filled in, as some error texts show it."""
    parts = with_tag(name).split("/")
    defaults = [DEFAULT_HOST, DEFAULT_NAMESPACE]
    return "/".join(defaults[: max(0, 3 - len(parts))] + parts)


def fold(name: str) -> str:
    """Two names with the same folded form mean the same model."""
    return full_name(name).casefold()


def is_valid(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= 3 and all(_PART.fullmatch(part) for part in parts)


def is_cloud(name: str) -> bool:
    """True for the explicit cloud names, which Ollama forwards whatever it has installed."""
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag == "cloud" or tag.endswith("-cloud")


def without_cloud(name: str) -> str:
    return name.removesuffix("-cloud").removesuffix(":cloud")


def find_listed(models: Mapping[str, SimulatedModel], name: str) -> str | None:
    """The listed name that a name stands for: the exact spelling first, then the folded one."""
    if name in models:
        return name
    if with_tag(name) in models:
        return with_tag(name)
    return next((listed for listed in models if fold(listed) == fold(name)), None)


def parse_version(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
