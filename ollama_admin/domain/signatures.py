"""What type checkers are told of functions whose arguments are the fields of a dataclass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from ollama_admin.domain.requests import GenerateRequest

    P = ParamSpec("P")
    S = TypeVar("S")
    T = TypeVar("T")

    def _takes_fields_of(
        _: Callable[P, GenerateRequest],
    ) -> Callable[[Callable[Concatenate[S, ...], T]], Callable[Concatenate[S, P], T]]: ...

    takes_a_request = _takes_fields_of(GenerateRequest)
else:

    def takes_a_request(method: Any) -> Any:
        """Type checkers see the fields of `GenerateRequest` as the keyword arguments; at run time
        that class is loaded when a request is made.
        """
        return method
