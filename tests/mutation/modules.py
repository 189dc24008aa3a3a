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


def put_into_force(module: Module, change: Change) -> None:
    """Give the function its new code; what is executed on import is imported anew, by everybody."""
    if change.function:
        codes = {code.co_qualname: code for code in _codes(module.get_code(module.name))}
        gc.unfreeze()  # the start of a command line freezes what is loaded, and none is listed
        functions = [some for some in gc.get_objects() if isinstance(some, FunctionType)]
        for function in functions:
            code = function.__code__
            if code.co_filename == module.path and code.co_qualname == change.function:
                function.__code__ = codes[change.function]
        for cached in [some for some in gc.get_objects() if isinstance(some, Cached)]:
            if str(getattr(cached, "__module__", "")).startswith("ollama_admin."):
                cached.cache_clear()  # it holds what the code as it is has made
    else:
        import_anew(module)


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
