"""The programs under measurement: release builds of this tree, or those of a folder that the caller names."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = ("roost-manager", "roost-agent", "roost")


class BenchmarkError(Exception):
    """Why there is no figure; shown as it is."""


def options(description):
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", metavar="DIR", help="folder of the programs to measure (default: build them, release)")
    return parser


def prepare(arguments, *extra):
    """Installs what is needed, builds unless a folder is named, and returns the folder. `extra`: more than the product."""
    purposes = ["run", "bench"] if arguments.bin else ["build", "run", "bench"]
    run([str(REPOSITORY / "packaging/install-packages"), *purposes])
    folder = Path(arguments.bin).resolve() if arguments.bin else build(extra)
    for name in (*PROGRAMS, *extra):
        if not os.access(folder / name, os.X_OK):
            hint = " (build it with ROOST_BENCHMARKS=1)" if name in extra else ""
            raise BenchmarkError(f"{folder / name} is missing{hint}; leave out --bin to build it")
    return folder


def build(extra):
    progress("building (the first build takes several minutes)")
    environment = {**os.environ, **({"ROOST_BENCHMARKS": "1"} if extra else {})}
    return Path(run([str(REPOSITORY / "packaging/build-release")], env=environment))


def run(command, **more):
    """Runs a command and returns what it printed; its own words are the error where it fails."""
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)
    if result.returncode != 0:
        end = "\n".join((result.stdout + result.stderr).strip().splitlines()[-20:])
        raise BenchmarkError(f"{' '.join(map(str, command))}: exit {result.returncode}\n{end}")
    return result.stdout.strip()


def progress(text):
    """A line for the person who waits."""
    if sys.stderr.isatty():
        print(f"... {text}", file=sys.stderr, flush=True)


def main(body):
    """Runs a benchmark: 0 where every goal is met, 1 where one is missed or there is no figure."""
    # Ended by whatever signal, everything is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(0 if body() else 1)
    except BenchmarkError as problem:
        sys.exit(f"{Path(sys.argv[0]).name}: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
