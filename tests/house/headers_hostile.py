#!/usr/bin/env python3
"""Every header compiles after the macros and global functions that other people's headers define. [C4] [N9]

The standard library, Eigen, fmt and the JSON library come first: they are not ours to test. Then come the macros, and
then all of valence in one file, in both orders.
"""
import re

from toolbox import ROOT, House

house, _ = House.from_arguments("headers_hostile")

MACROS = ["min(a, b)", "max(a, b)", "I", "N", "small", "near", "far", "ERROR", "CHECK", "IN", "OUT", "OPTIONAL",
          "DIFFERENCE", "TRUE", "FALSE", "interface"]

others = []
for header in house.headers():
    for name in re.findall(r"^#include <([^>]+)>", (ROOT / "include" / header).read_text(), flags=re.M):
        if name not in others:
            others.append(name)
lines = [f"#if __has_include(<{name}>)\n#include <{name}>\n#endif" for name in sorted(others) if name != "omp.h"]
lines += ['extern "C" int abs(int);', "double pow(int, int);"]
lines += [f"#define {macro} @ this name is a macro on some machines @" for macro in MACROS]
# What a preprocessor reads in a disabled branch does no harm; anything that is compiled does.
for order in (house.headers(), house.headers()[::-1]):
    text = "\n".join(lines + [f'#include "{header}"' for header in order]) + "\n"
    source = house.folder / ("forwards.cpp" if order[0] < order[-1] else "backwards.cpp")
    source.write_text(text)
    house.compile(source, source.with_suffix(".o"))
print(f"{len(house.headers())} headers in both orders after {len(MACROS)} macros, {house.compiler}")
