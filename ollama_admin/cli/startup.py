"""What makes short commands quick: three tricks on the interpreter and on libraries.

Each is measured by the CPU time of `ollama-admin -o json generate` with a server that is away
(Python 3.11, Typer 0.29, httpx 0.28): 303 ms with all three, 523 ms with none. A short command of
each kind is held to a bar by `startup` in `tests/benchmarks/`.

| trick | without it | it saves |
|---|---|---|
| the garbage collector waits until everything is loaded | 416 ms | 27 % |
| plain values of options need no pydantic | 343 ms | 12 % |
| httpx does not import its own command line | 334 ms | 9 % |

Nothing here may import what takes time to load: the first trick is for what is loaded after it.
"""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args, get_origin

if TYPE_CHECKING:
    from typer.core import TyperArgument, TyperOption

# new objects after which to look for garbage; at 700, as usual, it takes a tenth of `discover`
GARBAGE = 20_000
# what httpx imports where it can: its own command line, with click, rich and pygments
HTTPX_COMMAND_LINE = "httpx._main"
# what httpx looks for five times a request; where it is not there, all of the path is searched for
# it each time
OPTIONAL = "sniffio"


@contextmanager
def quick_process() -> Iterator[None]:
    """Run a whole process with less loading: to be entered before anything else is imported.

    What a program loads is no garbage. Looking for some in it while it is loaded, and again at the
    end, takes 27 % of the time of a short command; `end_of_loading` lets the collector work again.
    """
    gc.disable()
    _hide_what_httpx_does_not_need()
    try:
        yield
    finally:
        gc.freeze()


def end_of_loading() -> None:
    """Collect garbage from here on, but never look for it in what is loaded already."""
    gc.freeze()
    gc.set_threshold(GARBAGE)
    gc.enable()


def end_of_making() -> None:
    """Leave what a service has made before its first request out of each later look for garbage,
    which would hold up all requests for as long as it takes to go through a whole application.
    """
    gc.collect()
    gc.freeze()


def _hide_what_httpx_does_not_need() -> None:
    """Make imports of these modules fail at once, as httpx is prepared for; it saves 9 %."""
    sys.modules[HTTPX_COMMAND_LINE] = None  # type: ignore[assignment]
    if find_spec(OPTIONAL) is None:
        sys.modules[OPTIONAL] = None  # type: ignore[assignment]


def coerce_lightly(command: Any) -> Any:
    """Give back the command, changed with all below it so that plain values need no pydantic.

    Typer has pydantic check every value, also one that was not given, and to load pydantic takes as
    long as to load Typer: 12 % of a short command. Nothing here decides what is valid: whatever is
    not plainly of its type goes to Typer.
    """
    params_of = command.get_params

    def light_params_of(context: Any) -> list[Any]:
        params = params_of(context)  # --help is made there
        for param in params:
            _lighten(param)
        return list(params)

    command.get_params = light_params_of
    for below in getattr(command, "commands", {}).values():
        coerce_lightly(below)
    return command


def _lighten(param: Any) -> None:
    """Put `_LightParam` where Typer 0.29 keeps what it makes when a value is first looked at.

    A parameter that has no such attribute, as in another Typer, stays as it is.
    """
    if getattr(param, "_runtime_param", "") is None:
        param._runtime_param = _LightParam(param)


class _LightParam:
    """Stands in for Typer's own `RuntimeParam` until a value needs it."""

    def __init__(self, parameter: "TyperOption | TyperArgument") -> None:
        kind: Any = parameter.type_descriptor.annotation
        self._parameter = parameter
        self._is_list = get_origin(kind) is list
        if self._is_list:
            kind = get_args(kind)[0]
        self._kind = kind

    def coerce(self, value: Any, *, param: Any, ctx: Any) -> Any:
        if value is None:
            return () if self._is_list else None
        if self._is_list and isinstance(value, Sequence) and all(map(self._fits, value)):
            return value
        if not self._is_list and self._fits(value):
            return self._kind(value)
        self._parameter._runtime_param = None
        typers = self._parameter.get_runtime_param()
        return typers.coerce(value, param=param, ctx=ctx)

    def _fits(self, value: object) -> bool:
        if isinstance(self._kind, type) and issubclass(self._kind, StrEnum):
            return value in list(self._kind)
        return type(value) is self._kind
