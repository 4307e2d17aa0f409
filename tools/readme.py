#!/usr/bin/env python3
"""Keeps what the documentation shows true.

Usage: tools/readme.py check                every code fence is marked, and shows what the file it names holds
       tools/readme.py fix                  ... write the files' text into the fences
       tools/readme.py commands [--done C]  run every command that is marked to be run; --done: this one runs elsewhere

A fence of cpp, c++, cmake, sh or bash in README.md, CONTRIBUTING.md or docs/*.md has one of these lines above it:

    <!-- file: examples/readme/losses.cpp -->           the fence is that file, whole
    <!-- file: examples/readme/losses.cpp#algebra -->   the fence is what stands there between // [algebra] and // [/algebra]
    <!-- run -->                                        sh: run from the repository's root, each time CI runs
    <!-- not run: reason -->                            neither: says why (a plan, a fragment of the user's own project)

Files under examples/readme/ are whole programs: the build compiles them and ctest runs them.
"""
import pathlib
import re
import subprocess
import sys
import textwrap
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FENCE = re.compile(r"(?:^<!-- *(?P<mark>file:|run|not run:) *(?P<what>.*?) *-->\n\n?)?^```(?P<language>\w[\w+]*)\n(?P<body>.*?)^```$",
                   flags=re.M | re.S)
MARKED = {"cpp", "c++", "cmake", "sh", "bash"}


def documents() -> list[pathlib.Path]:
    return [path for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))] if path.exists()]


def source_of(what: str) -> str:
    """The text that a fence must show; ValueError where there is none."""
    name, _, region = what.partition("#")
    path = ROOT / name
    if not path.is_file():
        raise ValueError(f"{name} does not exist")
    text = path.read_text()
    if region:
        match = re.search(rf"^[ \t]*(?://|#) \[{re.escape(region)}\]\n(.*?)^[ \t]*(?://|#) \[/{re.escape(region)}\]$", text, flags=re.M | re.S)
        if not match:
            raise ValueError(f"{name} has no region [{region}]")
        text = textwrap.dedent(match.group(1))
    else:
        text = re.sub(r"^[ \t]*(//|#) \[/?\w+\]\n", "", text, flags=re.M)
    return text.strip("\n") + "\n"


def check(fix: bool) -> int:
    faults, fences = [], 0
    for path in documents():
        text = path.read_text()

        def visit(match: re.Match) -> str:
            nonlocal fences
            line = text.count("\n", 0, match.start("body"))
            where = f"{path.relative_to(ROOT)}:{line}"
            mark, what, language, body = match.group("mark", "what", "language", "body")
            if language not in MARKED:
                return match.group(0)
            fences += 1
            if mark is None:
                faults.append(f"{where}: a {language} fence without <!-- file: ... -->, <!-- run --> or <!-- not run: why -->")
            elif mark == "not run:" and not what:
                faults.append(f"{where}: not run: why?")
            elif mark == "run" and (what or language not in ("sh", "bash")):
                faults.append(f"{where}: <!-- run --> is for sh fences, from the repository's root")
            elif mark == "file:":
                try:
                    wanted = source_of(what)
                except ValueError as error:
                    faults.append(f"{where}: {error}")
                    return match.group(0)
                if body != wanted:
                    if fix:
                        return text[match.start() : match.start("body")] + wanted + text[match.end("body") : match.end()]
                    faults.append(f"{where}: differs from {what}; tools/readme.py fix writes it")
            return match.group(0)

        new = FENCE.sub(visit, text)
        if new != text:
            path.write_text(new)
    print("\n".join(faults + [f"{fences} fences in {len(documents())} documents, {len(faults)} faults"]))
    return 1 if faults else 0


def commands(done: list[str]) -> int:
    count = 0
    for path in documents():
        for match in FENCE.finditer(path.read_text()):
            if match.group("mark") != "run":
                continue
            lines = [line for line in match.group("body").splitlines() if line.split("#")[0].strip() not in done]
            script = "\n".join(lines)
            if not script.strip():
                continue
            print(f"---- {path.relative_to(ROOT)}:\n{script}", flush=True)
            start = time.monotonic()
            result = subprocess.run(["sh", "-eu", "-c", script], cwd=ROOT, stdin=subprocess.DEVNULL)
            if result.returncode != 0:
                print(f"exit {result.returncode}")
                return 1
            print(f"---- {time.monotonic() - start:.0f} s", flush=True)
            count += 1
    print(f"{count} blocks of commands ran")
    return 0


def main() -> int:
    match sys.argv[1:]:
        case ["check"]:
            return check(fix=False)
        case ["fix"]:
            return check(fix=True)
        case ["commands", *options]:
            return commands([command for option, command in zip(options[::2], options[1::2]) if option == "--done"])
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
