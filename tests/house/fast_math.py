#!/usr/bin/env python3
"""-ffast-math and -ffinite-math-only, which delete checks for NaN, are refused, in words. [N7]"""
from toolbox import House, fail

house, _ = House.from_arguments("fast_math")
source = house.folder / "everything.cpp"
source.write_text('#include "valence/valence.hpp"\n')
for flag in ("-ffast-math", "-ffinite-math-only", "-Ofast"):
    result = house.compile(source, source.with_suffix(".o"), flag, ok=False)
    errors = [line for line in result.stdout.splitlines() if " error: " in line]
    if result.returncode == 0 or not errors or "valence does not support -ffast-math" not in errors[0]:
        fail(f"{flag}: {errors[:1] or 'compiled'}")
    print(errors[0])
