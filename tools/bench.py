#!/usr/bin/env python3
"""Runs the benchmark programs and prints one table: what, ours, its limit or rival, the ratio.

Usage: tools/bench.py --bin FOLDER --out FOLDER [--quick] [name...]

A name is that of a file in benchmarks/ (`random`), or the beginning of a benchmark's name in any of them (`dpo/float`).
The JSON of each program goes to the output folder as `<program>.json`.

The names of the benchmarks say what is compared with what, in one run. Either `normal/double` is ours, and a benchmark
whose name has one part more, `normal/double/limit:stream` or `normal/double/peer:torch`, is what it is measured against
(numbers that the program adds, `.../1048576`, come last in both); or ours is `normal/valence` (and `normal/valence_block`),
and everything else under `normal/`, like `normal/std`, is a peer. Where a benchmark counts items (SetItemsProcessed), times
are per item. Counters of ours are shown as they are.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

STANDARD = {"name", "run_name", "run_type", "repetitions", "repetition_index", "threads", "iterations", "real_time", "cpu_time",
            "time_unit", "family_index", "per_family_instance_index", "items_per_second", "bytes_per_second", "label",
            "aggregate_name", "aggregate_unit", "error_occurred", "error_message",
            "time", "ns", "std_over_valence"}  # the last two say what the table's own columns say
UNIT = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


def run(program: pathlib.Path, out: pathlib.Path, quick: bool, names: str | None) -> list[dict]:
    """Each benchmark's fastest repetition, in the order of the program."""
    options = [f"--benchmark_out={out}", "--benchmark_out_format=json", "--benchmark_color=false",
               f"--benchmark_repetitions={1 if quick else 3}", f"--benchmark_min_time={0.02 if quick else 0.1}"]
    if names:
        options.append(f"--benchmark_filter={names}")
    result = subprocess.run([program, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        sys.exit(f"{program}: exit {result.returncode}\n{result.stdout}")
    if not out.exists() or not out.read_text().strip():
        return []
    best: dict[str, dict] = {}
    for row in json.loads(out.read_text())["benchmarks"]:
        if row.get("run_type") == "aggregate":
            continue
        if row.get("error_occurred"):
            sys.exit(f"{program}: {row['name']}: {row['error_message']}")
        name = re.sub(r"/repeats:\d+|/min_time:[\d.]+|/real_time|/iterations:\d+", "", row["run_name"])
        row["time"] = 1e9 / row["items_per_second"] if "items_per_second" in row else row["cpu_time"] * UNIT[row["time_unit"]]
        if name not in best or row["time"] < best[name]["time"]:
            best[name] = row
    return [row | {"name": name} for name, row in best.items()]


def nanoseconds(time: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if time >= size:
            return f"{time / size:.3g} {unit}"
    return f"{time:.3g} ns"


def table(rows: list[dict]) -> list[list[str]]:
    cases = {re.sub(r"/valence\w*", "", row["name"]) for row in rows if re.search(r"/valence(\w*)(/|$)", row["name"])}
    rivals: dict[str, list[tuple[str, dict]]] = {}
    ours = []
    for row in rows:
        case, _, last = row["name"].rpartition("/")
        if match := re.match(r"(.*?)/((?:limit|peer):[^/]*)(.*)$", row["name"]):
            rivals.setdefault(match.group(1) + match.group(3), []).append((match.group(2), row))
        elif case in cases and not last.startswith("valence"):
            rivals.setdefault(f"{case}/valence", []).append((f"peer:{last}", row))
        else:
            ours.append(row)
    for row in ours:  # the block version of a thing has the thing's own rivals
        if (match := re.match(r"(.*/valence)_\w+$", row["name"])) and match.group(1) in rivals:
            rivals.setdefault(row["name"], list(rivals[match.group(1)]))
    result = []
    for row in ours:
        per = "/item" if "items_per_second" in row else ""
        counters = "  ".join(f"{k}={v:.4g}" for k, v in row.items() if k not in STANDARD and isinstance(v, (int, float)))
        extra = "  ".join(part for part in (row.get("label", ""), counters) if part)
        lines = [[row["name"], nanoseconds(row["time"]) + per, "", "", "", extra]]
        for i, (what, rival) in enumerate(rivals.pop(row["name"], [])):
            kind, _, name = what.partition(":")
            share = (f"{100 * rival['time'] / row['time']:.0f}% of the limit" if kind == "limit"
                     else f"{rival['time'] / row['time']:.2f}x as fast")
            if i > 0:
                lines.append(["", "", "", "", "", ""])
            lines[i][2:5] = [name, nanoseconds(rival["time"]), share]
        result += lines
    for name, others in rivals.items():  # measured, but nothing of ours has that name: show it rather than lose it
        result += [[f"{name}/{what}", nanoseconds(rival["time"]), "", "", "", ""] for what, rival in others]
    return result


def show(title: str, lines: list[list[str]]) -> None:
    lines = [["", "ours", "limit or peer", "its time", "ratio", ""]] + lines
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    print(f"\n== {title}")
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true", help="one short repetition: does it run?")
    parser.add_argument("name", nargs="*")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    programs = sorted(arguments.bin.glob("bench_*"))
    if not programs:
        print("benchmarks/ holds no program yet, so there is nothing to run.")
        return
    files = {p.name.removeprefix("bench_").removesuffix("_native") for p in programs}
    chosen = [name for name in arguments.name if name in files]
    names = "|".join("^" + re.escape(name) for name in arguments.name if name not in files) or None
    shown = 0
    for program in programs:
        if chosen and program.name.removeprefix("bench_").removesuffix("_native") not in chosen:
            continue
        rows = run(program, arguments.out / f"{program.name}.json", arguments.quick, names)
        if rows:
            name = program.name.removeprefix("bench_")
            show(name.removesuffix("_native") + (", -march=native" if name.endswith("_native") else ", portable"), table(rows))
            shown += 1
    if not shown:
        sys.exit(f"no benchmark is named {' or '.join(arguments.name)}")
    print(f"\nJSON: {arguments.out}")


if __name__ == "__main__":
    main()
