#!/usr/bin/env python3
"""No type of ours changes its size with NDEBUG or with a macro of ours, and files that disagree about them link and
run. [C10]"""
import re

from toolbox import ROOT, House, fail, run

house, _ = House.from_arguments("layout")
consumer = ROOT / "tests" / "consumer"


def layouts(name: str, *flags) -> dict[str, str]:
    """Type -> layout, for every complete class of ours that the consumer program uses."""
    result = {}
    command = [house.compiler, "-std=c++20", f"-I{ROOT / 'include'}", *house.includes, *flags, "-fsyntax-only"]
    if house.is_gcc:
        dump = house.folder / f"{name}.txt"
        run(*command[:-1], "-S", "-o", "/dev/null", f"-fdump-lang-class={dump}", consumer / "main.cpp")
        blocks = re.split(r"\n\n", dump.read_text())
        for block in blocks:
            match = re.match(r"\s*Class (valence::.*)\n\s*(size=\d+ align=\d+)", block)
            if match and "<lambda" not in match.group(1):  # a lambda inside a function is no type that two files share
                result[match.group(1)] = match.group(2)
    else:
        text = run(*command, "-Xclang", "-fdump-record-layouts-complete", consumer / "main.cpp").stdout
        for block in text.split("*** Dumping AST Record Layout\n")[1:]:
            match = re.match(r"\s*0 \| (?:struct|class) (valence::.*)\n", block)
            if match and "lambda" not in match.group(1):
                result[match.group(1)] = re.sub(r"0x[0-9a-f]+", "", block)
    return result


checked = layouts("checked", "-UNDEBUG")
if len(checked) < 5:
    fail(f"only {len(checked)} types seen; the dump was not understood")
for name, flag in (("ndebug", "-DNDEBUG"), ("scalar", "-DVALENCE_VECTOR_EXTENSIONS=0"), ("openmp", "-DVALENCE_OPENMP")):
    other = layouts(name, flag)
    if different := [t for t in checked if t in other and checked[t] != other[t]]:
        fail(f"{flag} changes {different}: {[(checked[t], other[t]) for t in different]}")
    print(f"{len(set(checked) & set(other))} types the same with {flag}")

expected = None
for first, second in (("-UNDEBUG", "-DNDEBUG"), ("-DNDEBUG", "-UNDEBUG")):
    house.compile(consumer / "main.cpp", house.folder / "main.o", first)
    house.compile(consumer / "second.cpp", house.folder / "second.o", second)
    house.link(house.folder / "mixed", house.folder / "main.o", house.folder / "second.o")
    output = run(house.folder / "mixed").stdout
    if expected is not None and output != expected:
        fail("the result depends on NDEBUG")
    expected = output
print(expected)
