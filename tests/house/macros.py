#!/usr/bin/env python3
"""Including everything defines no macro but the documented ones, and nothing that belongs to fmt. [C9]"""
import re

from toolbox import ROOT, House, fail, run

house, _ = House.from_arguments("macros")

documented = set(re.findall(r"`(VALENCE_\w+)`", (ROOT / "include/valence/core/config.hpp").read_text()))


def macros(name: str, text: str) -> set[str]:
    source = house.folder / f"{name}.cpp"
    source.write_text(text)
    result = run(house.compiler, "-std=c++20", f"-I{ROOT / 'include'}", *house.includes, "-dM", "-E", source)
    return {line.split()[1].split("(")[0] for line in result.stdout.splitlines()}


text = "".join((ROOT / "include" / header).read_text() for header in house.headers())
others = sorted(set(re.findall(r"^#include <([^>]+)>", text, flags=re.M)) - {"omp.h"})
base = macros("others", "".join(f"#if __has_include(<{name}>)\n#include <{name}>\n#endif\n" for name in others))
ours = macros("everything", "".join(f'#include "{header}"\n' for header in house.headers())) - base
print("ours:", ", ".join(sorted(ours)))
if undocumented := ours - documented:
    fail(f"not in the list of core/config.hpp: {', '.join(sorted(undocumented))}")
if "FMT_HEADER_ONLY" in ours | base:
    fail("FMT_HEADER_ONLY is the user's choice")
