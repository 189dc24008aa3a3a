"""Starts one command, and prints as JSON what it took. `processes.py` runs it.

It is a process of its own, and small: a child begins its life with the peak memory of the process
that started it, so that the benchmarks themselves, with all that they have loaded, would be
measured instead of a small command.
"""

import json
import os
import resource
import signal
import sys
import time


def main() -> None:
    seconds, memory, stdout, *command = sys.argv[1:]
    if int(memory):
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=files)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(process, signal.SIGKILL))
    signal.alarm(int(seconds))
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - began
    signal.alarm(0)
    cpu = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    print(
        json.dumps(
            {"code": code, "wall": wall * 1000, "cpu": cpu * 1000, "peak": usage.ru_maxrss / 1024}
        )
    )


if __name__ == "__main__":
    main()
