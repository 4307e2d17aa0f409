#!/usr/bin/env python3
"""The consumer program, built in one of the ways that people build things, runs and gives the plain build's numbers.
[C8] [C11] [C12]"""
import math
import pathlib
import platform
import re

from toolbox import ROOT, House, fail, run, skip

# name: (flags of the first file, flags of the second, processor features that it needs)
VARIANTS = {
    "O3": (["-O3", "-DNDEBUG"], None, []),
    "O2_native": (["-O2", "-march=native", "-Wno-uninitialized", "-Wno-maybe-uninitialized"], None, []),
    "no_vector_extensions": (["-DVALENCE_VECTOR_EXTENSIONS=0"], None, []),
    "eigen_does_not_vectorise": (["-DEIGEN_DONT_VECTORIZE", "-DEIGEN_INITIALIZE_MATRICES_BY_NAN",
                                  "-DEIGEN_RUNTIME_NO_MALLOC"], None, []),
    "eigen_row_major": (["-DEIGEN_DEFAULT_TO_ROW_MAJOR"], None, []),
    "avx2": (["-mavx2", "-mfma"], None, ["avx2", "fma"]),
    "avx512": (["-O1", "-mavx512f", "-mfma", "-Wno-uninitialized", "-Wno-maybe-uninitialized"], None, ["avx512f", "fma"]),
    "half_avx2": (["-mavx2"], [], ["avx2"]),
    "no_rtti": (["-fno-rtti"], None, []),
    "no_exceptions": (["-fno-exceptions"], None, []),
    "openmp": (["-DVALENCE_OPENMP", "-fopenmp"], None, []),
    "signed_char_cxx23": (["-std=c++23", "-funsigned-char"], None, []),
}

house, arguments = House.from_arguments("variants", (["variant"], {"choices": ["plain", *VARIANTS]}))
first, second, features = ([], None, []) if arguments.variant == "plain" else VARIANTS[arguments.variant]
if not house.is_gcc:
    first = [flag for flag in first if flag != "-Wno-maybe-uninitialized"]
cpuinfo = pathlib.Path("/proc/cpuinfo")
known = set(re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), flags=re.M).group(1).split()) if (
    cpuinfo.exists() and platform.machine() == "x86_64") else set()
if missing := set(features) - known:
    skip(f"this processor has no {', '.join(missing)}")


def build_and_run(first: list[str], second: list[str]) -> str:
    folder = house.folder / arguments.variant
    folder.mkdir(parents=True, exist_ok=True)
    house.compile(ROOT / "tests/consumer/main.cpp", folder / "main.o", *first)
    house.compile(ROOT / "tests/consumer/second.cpp", folder / "second.o", *second)
    house.link(folder / "program", folder / "main.o", folder / "second.o",
               *(["-fopenmp"] if "-fopenmp" in first else []))
    return run(folder / "program").stdout


def same(expected: str, seen: str) -> bool:
    """Equal words, and equal numbers to within what another order of summation may change (floats end in f)."""
    expected_words, seen_words = expected.split(), seen.split()
    if len(expected_words) != len(seen_words):
        return False
    for e, s in zip(expected_words, seen_words):
        if e == s:
            continue
        try:
            tolerance = 1e-5 if e.endswith("f") else 1e-11
            if not math.isclose(float(e.rstrip("f")), float(s.rstrip("f")), rel_tol=tolerance, abs_tol=tolerance):
                return False
        except ValueError:
            return False
    return True


plain = house.folder / "plain.txt"
if arguments.variant == "plain":
    plain.write_text(build_and_run([], []))
    print(plain.read_text())
else:
    varied = build_and_run(first, first if second is None else second)
    expected = plain.read_text()
    if "-fno-exceptions" in first:  # the lines about caught errors are not there
        expected = "".join(line for line in expected.splitlines(keepends=True) if "; expected" not in line)
    if not same(expected, varied):
        print(expected, varied, sep="----\n")
        fail(f"{arguments.variant} gives other numbers")
