#!/usr/bin/env python3
"""Brings the umbrella headers up to date: each includes every header of its folder (not of folders inside it), and the
roof every umbrella but io's. Text above the first include is kept, so a sentence of description survives.

Usage: tools/umbrellas.py [--tracked]      (--tracked: only headers that git knows)
"""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = ROOT / "include" / "valence"


def write(path: pathlib.Path, names: list[str]) -> None:
    head = "#pragma once\n\n"
    if path.exists():
        head = path.read_text().partition("#include")[0]
    text = head + "".join(f'#include "valence/{name}"\n' for name in sorted(names))
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        print(path.relative_to(ROOT))


def main() -> None:
    headers = sorted(BASE.glob("*/*.hpp"))
    if "--tracked" in sys.argv:
        known = subprocess.run(["git", "ls-files", "include"], cwd=ROOT, text=True, capture_output=True, check=True).stdout
        headers = [h for h in headers if str(h.relative_to(ROOT)) in known.split()]
    folders = sorted({h.parent.name for h in headers})
    for folder in folders:
        write(BASE / f"{folder}.hpp", [f"{folder}/{h.name}" for h in headers if h.parent.name == folder])
    write(BASE / "valence.hpp", [f"{folder}.hpp" for folder in folders if folder != "io"])


if __name__ == "__main__":
    main()
