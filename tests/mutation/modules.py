"""A module of the package with a change in it, in the memory of this process only."""

import ast
import gc
import sys
from functools import lru_cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType

from tests.mutation.changes import Change

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "ollama_admin"
Cached = type(lru_cache(int))


class Module(SourceFileLoader):
    """A module of the package, loaded from a tree that can be changed."""

    def __init__(self, name: str, was: str = "", becomes: str = "") -> None:
        self.file = PACKAGE / name
        self.tree = ast.parse(self.file.read_text().replace(was, becomes))
        super().__init__(f"ollama_admin.{name[:-3].replace('/', '.')}", str(self.file))

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self.tree, self.path, "exec")
        return code


class Loaded:
    """What this process has of a module: its functions, and the caches that may hold what they
    made. To find them takes longer than most tests do.
    """

    def __init__(self, module: Module) -> None:
        self._module = module
        gc.unfreeze()  # what is frozen is not listed
        every = gc.get_objects()
        gc.freeze()  # a forked process that looks for garbage would copy all that is loaded
        self._functions = [
            some
            for some in every
            if isinstance(some, FunctionType) and some.__code__.co_filename == module.path
        ]
        self._caches = [
            some
            for some in every
            if isinstance(some, Cached)
            and str(getattr(some, "__module__", "")).startswith("ollama_admin.")
        ]

    def put_into_force(self, change: Change) -> None:
        """Give the function its new code; what is executed on import is imported anew, by
        everybody.
        """
        if not change.function:
            import_anew(self._module)
            return
        codes = {code.co_qualname: code for code in _codes(self._module.get_code(""))}
        for function in self._functions:
            if function.__code__.co_qualname == change.function:
                function.__code__ = codes[change.function]
        for cached in self._caches:
            cached.cache_clear()


def import_anew(module: Module) -> None:
    """Let everybody who imports something of ours from now on have it anew, with this module."""
    ours = (str(PACKAGE), str(ROOT / "tests"))
    for name, loaded in list(sys.modules.items()):
        if (getattr(loaded, "__file__", None) or "").startswith(ours):
            del sys.modules[name]
    sys.meta_path.insert(0, module)


def _codes(code: CodeType) -> list[CodeType]:
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return inner + [deeper for part in inner for deeper in _codes(part)]
