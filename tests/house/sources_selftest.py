#!/usr/bin/env python3
"""sources.py finds what it says it finds: a small tree with one fault at a time must be refused, and without it passed."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

CLEAN = {
    "tools/floors.txt": "low:\nhigh: low\nio: low high\n",
    "include/valence/valence.hpp": '#pragma once\n\n#include "valence/high.hpp"\n#include "valence/low.hpp"\n',
    "include/valence/low.hpp": '#pragma once\n#include "valence/low/a.hpp"\n',
    "include/valence/high.hpp": '#pragma once\n#include "valence/high/b.hpp"\n',
    "include/valence/low/a.hpp": "// a comment\n#pragma once\n#include <vector>\nnamespace valence {\n"
                                 "inline constexpr int limit = 3;\n/* static int x; */\n"
                                 "struct S { static int count(); static constexpr int n = 1; };\n"
                                 "inline int f() { static int calls = 0; const int y = 1; return calls += y; }\n"
                                 "template <class T = int> inline constexpr T half = T(0.5);\n}\n",
    "include/valence/high/b.hpp": '#pragma once\n#include "valence/low/a.hpp"\n',
    "tests/low/a_test.cpp": "",
    "tests/high/b_test.cpp": "",
}

A, B = "include/valence/low/a.hpp", "include/valence/high/b.hpp"
FAULTS = [  # check, file, what is added to it (None: the file is removed), a word of the finding
    ("floors", A, '#include "valence/high/b.hpp"', "may not include high"),
    ("floors", A, '#include "valence/high.hpp"', "umbrella"),
    ("floors", "tools/floors.txt", "other: unknown\n", "not on a line above"),
    ("floors", "include/valence/new/x.hpp", "#pragma once", "not in tools/floors.txt"),
    ("resolves", B, '#include "valence/low/gone.hpp"', "does not exist"),
    ("resolves", B, "#include <valence/low/a.hpp>", "in quotes"),
    ("resolves", B, '#include "vector"', "angle brackets"),
    ("cycles", A, '#include "valence/high/b.hpp"', "cycle"),
    ("pragma_once", A, "#pragma once", "only #pragma once"),
    ("pragma_once", "include/valence/low/c.hpp", "int x();", "only #pragma once"),
    ("linkage", A, "namespace valence { static int x = 0; }", "static at namespace scope"),
    ("linkage", A, "namespace valence::deep { static inline double f(int x) { return x; } }", "static at namespace scope"),
    ("linkage", A, "namespace valence { namespace { int f(); } }", "unnamed namespace"),
    ("linkage", A, "namespace valence { constexpr double e = 2.7; }", "without inline"),
    ("linkage", A, "namespace valence { const int table[] = {1, 2}; }", "without inline"),
    ("linkage", A, "namespace valence { template <class T> constexpr T two{2}; }", "without inline"),
    ("linkage", A, "using namespace std;", "using namespace"),
    ("random_numbers", A, "inline double f(auto& g) { return std::normal_distribution<>{}(g); }", "normal_distribution"),
    ("random_numbers", A, "inline void f(auto& v, auto& g) { std::shuffle(v.begin(), v.end(), g); }", "shuffle"),
    ("random_numbers", A, "#include <random>", "never needed"),
    ("heavy_headers", A, "#include <iostream>", "heavy"),
    ("macro_names", A, "template <int N> struct X {};", "N is a macro"),
    ("test_names", "tests/low/a_test.cpp", 'TEST_CASE("x in [0, 1)", "[tag]") {}', "open bracket"),
    ("macro_names", A, "inline int f(int near) { return near; }", "near is a macro"),
    ("configuration", A, "#ifndef NDEBUG\n#endif", "NDEBUG"),
    ("configuration", A, "#define FMT_HEADER_ONLY", "FMT_HEADER_ONLY"),
    ("umbrellas", "include/valence/low/c.hpp", "#pragma once", "does not include valence/low/c.hpp"),
    ("umbrellas", "include/valence/low.hpp", '#include "valence/high/b.hpp"', "not in its folder"),
    ("umbrellas", "include/valence/valence.hpp", '#include "valence/io.hpp"', "except io's"),
    ("umbrellas", "include/valence/high.hpp", None, "without its umbrella"),
    ("umbrellas", "include/valence/lost.hpp", "#pragma once", "without a folder"),
    ("tests_mirror", "tests/high/b_test.cpp", None, "no tests/high"),
]


def check(tree: pathlib.Path, name: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, tree / "tests/house/sources.py", name], text=True, capture_output=True)


def main() -> None:
    for name, path, addition, word in [(name, None, None, None) for name in dict.fromkeys(f[0] for f in FAULTS)] + FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            tree = pathlib.Path(folder)
            for file, text in CLEAN.items():
                (tree / file).parent.mkdir(parents=True, exist_ok=True)
                (tree / file).write_text(text)
            (tree / "tests/house").mkdir(parents=True)
            shutil.copy(HERE / "sources.py", tree / "tests/house")
            if path is not None:
                if addition is None:
                    (tree / path).unlink()
                else:
                    (tree / path).parent.mkdir(parents=True, exist_ok=True)
                    with (tree / path).open("a") as file:
                        file.write(addition + "\n")
            result = check(tree, name)
            expected = 0 if path is None else 1
            if result.returncode != expected or (word is not None and word not in result.stdout):
                sys.exit(f"FAILED: {name}, {path}, {addition}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    print(f"{len(FAULTS)} faults found")


if __name__ == "__main__":
    main()
