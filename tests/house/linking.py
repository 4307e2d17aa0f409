#!/usr/bin/env python3
"""Two files that both include and use everything link: into one program, and as two shared libraries that a third one
uses. No symbol of ours is strong, and no object of ours is private to a file. [C1] [C2]"""
import re

from toolbox import ROOT, House, fail, run

house, _ = House.from_arguments("linking")
consumer = ROOT / "tests" / "consumer"
folder = house.folder

objects = {}
for name in ("main", "second"):
    objects[name] = folder / f"{name}.o"
    house.compile(consumer / f"{name}.cpp", objects[name], "-fPIC")

for name, path in objects.items():
    for line in run("nm", "-C", "--defined-only", path).stdout.splitlines():
        kind, symbol = line.split(maxsplit=2)[1:]
        ours = re.search(r"\bvalence::", symbol) is not None
        if ours and kind in "TDBRGS" and not symbol.startswith(("first_file", "second_file")):
            fail(f"{name}.o: {symbol} is strong ({kind}): a second file that includes it will not link")
        if ours and kind in "dbgs" and "guard variable" not in symbol:
            fail(f"{name}.o: {symbol} is private to the file ({kind}): each file has its own copy")

house.link(folder / "one_program", *objects.values())
expected = run(folder / "one_program").stdout

house.compile(consumer / "main.cpp", folder / "main_shared.o", "-fPIC", "-DCONSUMER_MAIN=consumer_main")
(folder / "third.cpp").write_text("int consumer_main();\nint main() { return consumer_main(); }\n")
house.compile(folder / "third.cpp", folder / "third.o")
house.link(folder / "libsecond.so", "-shared", objects["second"])
house.link(folder / "libmain.so", "-shared", folder / "main_shared.o", f"-L{folder}", "-lsecond",
           f"-Wl,-rpath,{folder}")
house.link(folder / "three_pieces", folder / "third.o", f"-L{folder}", "-lmain", "-lsecond", f"-Wl,-rpath,{folder}")
if run(folder / "three_pieces").stdout != expected:
    fail("two shared libraries give another result than one program")
print(expected)
