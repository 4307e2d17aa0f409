#!/usr/bin/env python3
"""Every header compiles by itself, twice in a row, without a warning. [C3] [C5]"""
from toolbox import House, fail, run

house, _ = House.from_arguments("headers_alone")
broken = []
for header in house.headers():
    source = house.folder / (header.replace("/", "_") + ".cpp")
    text = f'#include "{header}"\n#include "{header}"\n'
    if not source.exists() or source.read_text() != text:
        source.write_text(text)
    result = house.compile(source, source.with_suffix(".o"), ok=False)
    if result.returncode != 0:
        broken.append(header)
        print(f"---- {header}\n{result.stdout[:4000]}")
print(f"{len(house.headers())} headers compiled alone by {house.compiler}")
if broken:
    fail(", ".join(broken))
