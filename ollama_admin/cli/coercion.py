"""Values of options that are what they should be already, without pydantic.

Typer has pydantic check every value, also one that was not given, and to load pydantic takes as
long as to load Typer. Nothing here decides what is valid: whatever is not plainly of its type goes
to Typer.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, get_args, get_origin

from typer.core import TyperArgument, TyperGroup, TyperOption


def coerce_lightly(command: Any) -> Any:
    """The command, its options and arguments and those of the commands below it changed to do
    so.
    """
    heavy = command.get_params
    # --help is made there
    command.get_params = lambda ctx: [_lightened(parameter) for parameter in heavy(ctx)]
    if isinstance(command, TyperGroup):
        for below in command.commands.values():
            coerce_lightly(below)
    return command


def _lightened(parameter: Any) -> Any:
    is_typers = isinstance(parameter, TyperOption | TyperArgument)
    # another Typer may do without it
    if is_typers and getattr(parameter, "_runtime_param", "") is None:
        light: Any = _Light(parameter)
        parameter._runtime_param = (
            light  # Typer's own place for what it makes when it is first needed
        )
    return parameter


class _Light:
    """In the place of the parameter's `RuntimeParam`, until that one is needed."""

    def __init__(self, parameter: TyperOption | TyperArgument) -> None:
        kind: Any = parameter.type_descriptor.annotation
        self._is_list = get_origin(kind) is list
        self._kind = get_args(kind)[0] if self._is_list else kind
        self._parameter = parameter

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
