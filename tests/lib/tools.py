"""The C programs of tests/tools that the scenarios need: built once a process, with the project's warnings."""
import atexit
import functools
import pathlib
import shutil
import subprocess
import tempfile

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "tools"
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Werror"]


@functools.lru_cache(maxsize=1)
def _directory():
    path = pathlib.Path(tempfile.mkdtemp(prefix="ukai-tools-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.lru_cache(maxsize=None)
def built(name, *options):
    """The path of what tests/tools/NAME.c becomes."""
    out = _directory() / name
    subprocess.run(["cc", "-O2", *WARNINGS, *options, "-o", out, SOURCES / f"{name}.c"], check=True)
    return out
