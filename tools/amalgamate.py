#!/usr/bin/env python3
"""Writes one stand-alone header for each umbrella header: include/valence/preference.hpp becomes OUT/preference.hpp, with
every header of ours that it needs inside. Several of them may be included together, in any order: each part stands
behind a guard of its own.

Usage: tools/amalgamate.py [--out FOLDER]
"""
import argparse
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = ROOT / "include"
OURS = re.compile(r'^#include "(valence/[^"]+)"\s*(?://.*)?$')


def expand(name: str, done: set[str], lines: list[str]) -> None:
    if name in done:
        return
    done.add(name)
    guard = "VALENCE_SINGLE_" + re.sub(r"\W", "_", name.removeprefix("valence/").removesuffix(".hpp")).upper()
    lines += [f"// ---- {name}", f"#ifndef {guard}", f"#define {guard}"]
    for line in (INCLUDE / name).read_text().splitlines():
        if match := OURS.match(line):
            expand(match.group(1), done, lines)
        elif line != "#pragma once":
            lines.append(line)
    lines.append(f"#endif  // {guard}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "amalgamated")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    version = re.search(r'#define VALENCE_VERSION "([^"]+)"', (INCLUDE / "valence/core/config.hpp").read_text()).group(1)
    licence = "".join(f"// {line}".rstrip() + "\n" for line in (ROOT / "LICENSE").read_text().splitlines())
    for umbrella in sorted((INCLUDE / "valence").glob("*.hpp")):
        lines: list[str] = []
        expand(f"valence/{umbrella.name}", set(), lines)
        head = f"// valence {version}: {umbrella.stem}, in one file. Made from include/valence/{umbrella.name}; do not edit.\n//\n"
        (out / umbrella.name).write_text(f"{head}{licence}\n#pragma once\n\n" + "\n".join(lines) + "\n")
        print(f"{out / umbrella.name}: {len(lines)} lines")


if __name__ == "__main__":
    main()
