#!/usr/bin/env python3
"""What including valence costs: compile time (CPU) and memory of each umbrella header alone and of the quickstart, against
a file that includes <Eigen/Dense> and <fmt/format.h>, which a user of Eigen pays anyway.

Usage: tools/compile_time.py [--compiler C] [--out FOLDER] [--repetitions N] [--check]      (--check: exit 1 over a goal)
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOALS = {"valence.hpp": 1.5, "preference.hpp": 1.1}
BASE = "<Eigen/Dense> and <fmt/format.h>"


def include_paths() -> list[str]:
    found = subprocess.run(["pkg-config", "--cflags-only-I", "eigen3", "fmt"], text=True, capture_output=True) if any(
        (pathlib.Path(p) / "pkg-config").exists() for p in os.environ["PATH"].split(":")) else None
    if found and found.returncode == 0:
        return [flag.replace("-I", "-isystem") for flag in found.stdout.split()]
    return ["-isystem/usr/include/eigen3"]


def measure(command: list[str]) -> tuple[float, float]:
    """(CPU seconds, peak MB) of one compilation, its children included."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}\n{output}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.out / "compile_time"
    folder.mkdir(parents=True, exist_ok=True)

    sources = {BASE: folder / "base.cpp"}
    sources[BASE].write_text("#include <Eigen/Dense>\n#include <fmt/format.h>\n")
    for header in sorted((ROOT / "include/valence").glob("*.hpp")):
        sources[header.name] = folder / f"{header.stem}.cpp"
        sources[header.name].write_text(f'#include "valence/{header.name}"\n')
    if (ROOT / "examples/quickstart.cpp").exists():
        sources["examples/quickstart.cpp"] = ROOT / "examples/quickstart.cpp"

    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
    for repetition in range(arguments.repetitions):
        for name, source in sources.items():  # interleaved, so that a noisy minute hits all of them
            if source.parent.name == "examples" and repetition >= 2:
                continue
            measured[name].append(measure([arguments.compiler, "-std=c++20", "-O2", f"-I{ROOT / 'include'}", *include_paths(),
                                           "-c", str(source), "-o", str(folder / "out.o")]))
    best = {name: (min(t for t, _ in values), min(m for _, m in values)) for name, values in measured.items()}
    base_time, base_memory = best[BASE]
    print(f"\n== compile time, {arguments.compiler} -O2, CPU seconds and peak memory, best of {arguments.repetitions}")
    over = []
    for name, (time, memory) in best.items():
        ratio = time / base_time
        goal = GOALS.get(name)
        note = f"  (goal {goal}x)" if goal else ""
        if goal and ratio > goal:
            note = f"  OVER the goal of {goal}x"
            over.append(name)
        print(f"{name:34} {time:6.2f} s {ratio:5.2f}x   {memory:5.0f} MB {memory / base_memory:5.2f}x{note}")
    result = {"compiler": arguments.compiler, "base": BASE,
              "files": {name: {"seconds": t, "megabytes": m, "ratio": t / base_time} for name, (t, m) in best.items()}}
    (arguments.out / f"compile_time_{pathlib.Path(arguments.compiler).name}.json").write_text(json.dumps(result, indent=2) + "\n")
    if arguments.check and over:
        sys.exit(f"over the goal: {', '.join(over)}")


if __name__ == "__main__":
    main()
