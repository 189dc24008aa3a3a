"""What the documentation shows is typed into a shell."""

import os
import subprocess
import sys
from pathlib import Path


def environment(folder: Path) -> dict[str, str]:
    """Nothing of this machine's but its programs, and ours before them; at home in the folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder)}


def typed(script: str, folder: Path, environ: dict[str, str]) -> str:
    """What a script prints, with these variables besides; each command must end with 0."""
    ran = subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        cwd=folder,
        env=environment(folder) | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout
