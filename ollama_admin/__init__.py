"""A registry for fleets of Ollama servers: what was asked for is what answers, or it is an
error.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ollama_admin.client import Client

__all__ = ["Client"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the client when it is first asked for: the command line's help needs none of what it
    brings.
    """
    if name == "Client":
        from ollama_admin.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
