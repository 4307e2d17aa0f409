#!/usr/bin/env python3
"""tests/consumer, built in one of the six ways to use valence, runs and prints what the plain build prints; as a part
of another project valence leaves no flag, test, target or warning behind; what is installed names no path of this
machine and may be moved."""
import json
import os
import pathlib
import shutil

from toolbox import ROOT, House, fail, find_clang, run, skip

house, arguments = House.from_arguments("consumer", (["way"], {}))
way = arguments.way
folder = house.folder / way
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)
consumer = ROOT / "tests" / "consumer"
clean = {key: value for key, value in os.environ.items() if key not in ("CXXFLAGS", "CPPFLAGS", "LDFLAGS")}


def install() -> pathlib.Path:
    """Installs into one folder, then moves it, as packages are moved."""
    run(house.cmake, "-G", house.generator, "-S", ROOT, "-B", folder / "valence", "-DVALENCE_BUILD_TESTS=OFF",
        "-DVALENCE_BUILD_EXAMPLES=OFF", "-DVALENCE_BUILD_BENCHMARKS=OFF", f"-DCMAKE_CXX_COMPILER={house.compiler}",
        f"-DCMAKE_PREFIX_PATH={house.prefix_path}", f"-DCMAKE_INSTALL_PREFIX={folder / 'first place'}", env=clean)
    run(house.cmake, "--install", folder / "valence")
    (folder / "first place").rename(folder / "second place")
    installed = [path for path in (folder / "second place").rglob("*") if path.is_file()]
    for path in installed:
        text = path.read_text()
        for place in (ROOT, folder, pathlib.Path.home()):
            if str(place) + "/" in text or f'"{place}"' in text:
                fail(f"{path} names {place}")
        if path.suffix == ".cmake" and any(word in text for word in ("-march", "-mavx", "-Werror", "INTERFACE_COMPILE_OPTIONS",
                                                                     "INTERFACE_COMPILE_DEFINITIONS")):
            fail(f"{path} exports a flag or definition")  # [C8]
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "include").rglob("*.hpp")}
    if ours != {str(path.relative_to(folder / "second place")) for path in installed if path.suffix == ".hpp"}:
        fail("the installed headers are not those of include/")
    return folder / "second place"


def build_with_cmake(*settings) -> str:
    build = folder / "build"
    run(house.cmake, "-G", house.generator, "-S", consumer, "-B", build, f"-DCONSUMER_WAY={way}",
        f"-DCMAKE_CXX_COMPILER={house.compiler}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DVALENCE_FETCH=OFF",
        *settings, env=clean)
    run(house.cmake, "--build", build, "--parallel", "1")
    for entry in json.loads((build / "compile_commands.json").read_text()):
        words = entry["command"].split()
        allowed = ("-D", "-I", "-o", "-c", "-std=", "-isystem", "-pthread")
        is_stranger = entry["file"].endswith("stranger.cpp")
        for word in words[1:]:
            if word.startswith("-") and (not word.startswith(allowed) or word.startswith(("-DVALENCE", "-DEIGEN", "-DFMT_HEADER"))):
                fail(f"{entry['file']} is compiled with {word}")
        if is_stranger and any("valence" in word for word in words if word.startswith(("-I", "-isystem", "-D"))):
            fail(f"a target that does not use valence is compiled with {entry['command']}")
    listed = run("ctest", "-N", cwd=build).stdout
    if "Total Tests: 0" not in listed and "No tests were found" not in listed:
        fail(f"the consumer has tests:\n{listed}")
    return run(build / "consumer").stdout


def build_by_hand(compiler: str, name: str, *flags) -> str:
    """The one line of the README: no build system, no library to link."""
    program = folder / name
    run(compiler, "-std=c++20", *flags, *house.includes, "-DFMT_HEADER_ONLY", consumer / "main.cpp", consumer / "second.cpp",
        "-o", program)
    return run(program).stdout


if way == "find_package":
    output = build_with_cmake(f"-DCMAKE_PREFIX_PATH={install()};{house.prefix_path}")
elif way == "add_subdirectory":
    output = build_with_cmake(f"-DVALENCE_SOURCE={ROOT}", f"-DCMAKE_PREFIX_PATH={house.prefix_path}")
elif way == "fetch_content":
    output = build_with_cmake(f"-DFETCHCONTENT_SOURCE_DIR_VALENCE={ROOT}", f"-DVALENCE_SOURCE={ROOT}",
                              f"-DCMAKE_PREFIX_PATH={house.prefix_path}")
elif way == "pkg_config":
    if not shutil.which("pkg-config"):
        skip("no pkg-config")
    places = [str(install() / "share/pkgconfig")] + [p for p in [os.environ.get("PKG_CONFIG_PATH")] if p]
    clean["PKG_CONFIG_PATH"] = ":".join(places)
    os.environ["PKG_CONFIG_PATH"] = clean["PKG_CONFIG_PATH"]
    if run("pkg-config", "--modversion", "valence").stdout.strip().count(".") != 2:
        fail("pkg-config gives no version")
    output = build_with_cmake()
elif way == "bare":
    output = build_by_hand(house.compiler, "program", f"-I{ROOT / 'include'}")
    clang = find_clang()
    if clang and clang != house.compiler and build_by_hand(clang, "program_clang", f"-I{ROOT / 'include'}") != output:
        fail(f"{clang} gives other results than {house.compiler}")
elif way == "amalgamated":
    run("python3", ROOT / "tools/amalgamate.py", "--out", folder / "headers" / "valence")
    for umbrella in sorted((ROOT / "include/valence").glob("*.hpp")):
        text = (folder / "headers/valence" / umbrella.name).read_text()
        if '#include "' in text:
            fail(f"{umbrella.name}: the single header includes another file of ours")
    output = build_by_hand(house.compiler, "program", f"-I{folder / 'headers'}")
    # All single headers together in one file, in an order that nobody chose for us.
    everything = folder / "everything.cpp"
    names = [u.name for u in sorted((ROOT / "include/valence").glob("*.hpp"))]
    names = [n for n in names if house.json or n != "io.hpp"]
    everything.write_text("".join(f"#include <valence/{n}>\n" for n in names + names[::-1]))
    run(house.compiler, "-std=c++20", "-fsyntax-only", f"-I{folder / 'headers'}", *house.includes, everything)
else:
    fail(f"no such way: {way}")

expected = (house.folder.parent / "variants" / "plain.txt").read_text()
if output != expected:
    print(output, expected, sep="---- expected:\n")
    fail("not the plain build's output")
print(output)
