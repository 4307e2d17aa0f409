#!/usr/bin/env python3
"""Runs the programs of the systems and reports what they found; `./dev papers` builds them and calls this.

Usage: tools/papers.py [--bin DIR] [--record] [--held-out N] id... [-- options of the programs]

Each program runs once as it stands, and its output is shown. --record puts its results into docs/papers/<id>.json and writes
the README's table from them. --held-out N runs each N more times, from consecutive seeds behind a random one, and tells in how
many of them the claim held; with --record that goes into the results, too. Exit code 0: every claim held.
"""
import argparse
import json
import pathlib
import secrets
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(program: pathlib.Path, results: pathlib.Path, options: list[str]) -> dict:
    """The program's results; its output goes where ours does."""
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    code = subprocess.run([program, "--json", results, *options], check=False).returncode
    if code not in (0, 1):
        sys.exit(f"papers: {program.name} ended with exit code {code}")
    return json.loads(results.read_text(encoding="utf-8"))


def hold_out(program: pathlib.Path, runs: int, options: list[str]) -> dict:
    first = 1000 + secrets.randbelow(2**32)
    holds = 0
    for seed in range(first, first + runs):
        result = subprocess.run([program, "--seed", str(seed), *options], text=True, stdout=subprocess.PIPE, check=False)
        if result.returncode not in (0, 1):
            sys.exit(f"papers: {program.name} --seed {seed} ended with exit code {result.returncode}")
        holds += result.returncode == 0
        print(f"{program.name} --seed {seed}: {result.stdout.splitlines()[-1]}", flush=True)
    print(f"{program.name}: {holds} of {runs} held", flush=True)
    return {"first": first, "runs": runs, "holds": holds}


def main() -> int:
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/papers/bin")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--held-out", type=int, default=0)
    parser.add_argument("ids", nargs="+")
    chosen = parser.parse_args(arguments[:split])
    options = arguments[split + 1 :]
    if chosen.record and options:
        parser.error("--record is for runs as the programs stand, without options")

    rows = []
    for name in chosen.ids:
        program = chosen.bin / f"paper_{name}"
        result = run(program, ROOT / f"build/papers/results/{name}.json", options)
        print(flush=True)
        record = ROOT / f"docs/papers/{name}.json"
        if chosen.held_out:
            result["held_out"] = hold_out(program, chosen.held_out, options)
        elif record.exists() and "held_out" in (before := json.loads(record.read_text(encoding="utf-8"))):
            result["held_out"] = before["held_out"]
        if chosen.record:
            for row in result["table"]:
                del row["values"]  # of each seed: too much for a repository
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        rows.append((name, result["verdict"], f"{result['seconds']:.1f} s", result["measured"]))
    width = max(len(row[0]) for row in rows)
    for name, verdict, seconds, measured in rows:
        print(f"{name:{width}}  {verdict}  {seconds:>8}  {measured}")
    if chosen.record:
        subprocess.run([sys.executable, ROOT / "tools/systems_table.py"], check=True)
    return 0 if all(row[1] == "HOLDS" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
