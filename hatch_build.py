"""Makes the files that a wheel holds beside the program: see `ollama_admin/cli/manual.py`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SharedFiles(BuildHookInterface):  # type: ignore[misc]
    """Puts them into `share/` of where the wheel is installed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the files; a checkout that is installed as it is gets none."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from ollama_admin.cli.manual import shared_files

        self._folder = tempfile.TemporaryDirectory()
        for path, text in shared_files().items():
            file = Path(self._folder.name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            build_data["shared_data"][str(file)] = f"share/{path}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """The wheel is written, and holds the files."""
        if version != "editable":
            self._folder.cleanup()
