#!/usr/bin/env python3
"""Every header compiles by itself, twice in a row, without a warning. [C3] [C5]

What a header forgets to include is missing with any compiler, so with --clang only the umbrellas are compiled.
"""
from toolbox import House, fail

house, arguments = House.from_arguments("headers_alone")
broken = []
headers = [h for h in house.headers() if not arguments.clang or h.count("/") == 1]
for header in headers:
    source = house.folder / (header.replace("/", "_") + ".cpp")
    text = f'#include "{header}"\n#include "{header}"\n'
    if not source.exists() or source.read_text() != text:
        source.write_text(text)
    result = house.compile(source, source.with_suffix(".o"), ok=False)
    if result.returncode != 0:
        broken.append(header)
        print(f"---- {header}\n{result.stdout[:4000]}")
print(f"{len(headers)} headers compiled alone by {house.compiler}")
if broken:
    fail(", ".join(broken))
