#!/usr/bin/env python3
"""Writes the README's table of the 63 systems from the programs' own output.

Usage: tools/systems_table.py [--check] [--results DIR] [README.md]

docs/systems.csv lists the systems; each program `paper_<id> --json FILE` leaves one JSON object with the fields
`header`, `claim`, `verdict` ("HOLDS" or "FAILS"), `measured` and `seeds`, and `./dev papers --record` puts it into the
results folder (default docs/papers). `--held-out N` adds `held_out`: in how many of N runs from seeds that nobody chose the
claim held.
A system without such a file is shown as not yet there. --check changes nothing and exits 1 when the README differs.
"""
import argparse
import csv
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- systems: begin -->", "<!-- systems: end -->"


def held_out(result: dict) -> str:
    return "; held out: {holds}/{runs}".format(**result["held_out"]) if "held_out" in result else ""


def table(results: pathlib.Path) -> str:
    rows = list(csv.DictReader((ROOT / "docs/systems.csv").open(encoding="utf-8")))
    lines = []
    done = 0
    for row in rows:
        cells = [row["number"], f"**{row['system']}** {row['paper']}"]
        file = results / f"{row['id']}.json"
        if file.exists():
            r = json.loads(file.read_text(encoding="utf-8"))
            if r["verdict"] == "HOLDS":
                done += 1
            cells += [
                f"[`{r['header']}`](include/{r['header']})",
                f"[`{row['id']}`](examples/papers/{row['id']}.cpp)",
                r["claim"],
                f"{r['measured']} ({r['verdict'].lower()}, {r['seeds']} seeds{held_out(r)})",
            ]
        else:
            cells += ["", f"`{row['id']}`", "", "not yet there"]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    head = [
        f"{done} of {len(rows)} systems are in. A system is in when its program reproduces the paper's claim on seeds that nobody chose.",
        "",
        "| # | paper | header | program | claim | measured |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([BEGIN, *head, *lines, END])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "docs/papers")
    parser.add_argument("readme", type=pathlib.Path, nargs="?", default=ROOT / "README.md")
    options = parser.parse_args()
    text = options.readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        print(f"{options.readme}: expected one `{BEGIN}` and one `{END}`", file=sys.stderr)
        return 1
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    wanted = before + table(options.results) + after
    if wanted == text:
        return 0
    if options.check:
        print(f"{options.readme}: the table of systems differs from the programs' output; run tools/systems_table.py", file=sys.stderr)
        return 1
    options.readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
