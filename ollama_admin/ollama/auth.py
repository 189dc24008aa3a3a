"""The one place where a request gets its credentials."""

from ollama_admin.domain import AuthType, Target
from ollama_admin.errors import SecretUnavailable


def request_headers(target: Target) -> dict[str, str]:
    """The headers that carry a server's credentials; SecretUnavailable rather than a request without them."""
    if target.auth_type is not AuthType.NONE or target.headers:
        raise SecretUnavailable(
            f"server {target.ref} wants credentials of the kind {target.auth_type}, which this version cannot read",
            "update ollama-admin",
        )
    return {}
