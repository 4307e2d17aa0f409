#!/usr/bin/env python3
"""tools/readme.py finds a fence that is unmarked or has drifted from its file, mends it, and runs what is to be run."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = "#include <cmath>\n\nint main() {\n  // [middle]\n  double x = std::sqrt(2);\n  // [/middle]\n  return x > 2;\n}\n"


def readme(tree: pathlib.Path, *arguments: str) -> tuple[int, str]:
    result = subprocess.run([sys.executable, tree / "tools/readme.py", *arguments], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    return result.returncode, result.stdout


def expect(condition: bool, what: str, output: str = "") -> None:
    if not condition:
        sys.exit(f"FAILED: {what}\n{output}")


with tempfile.TemporaryDirectory() as folder:
    tree = pathlib.Path(folder)
    for name in ("tools", "docs", "examples/readme"):
        (tree / name).mkdir(parents=True)
    shutil.copy(ROOT / "tools/readme.py", tree / "tools")
    (tree / "examples/readme/root.cpp").write_text(PROGRAM)
    page = tree / "README.md"

    def check(text: str, good: bool, word: str = "") -> None:
        page.write_text(text)
        code, output = readme(tree, "check")
        expect((code == 0) == good and word in output, f"check of {text!r}", output)

    whole = PROGRAM.replace("  // [middle]\n", "").replace("  // [/middle]\n", "")
    check(f"<!-- file: examples/readme/root.cpp -->\n```cpp\n{whole}```\n", True)
    check("<!-- file: examples/readme/root.cpp#middle -->\n```cpp\ndouble x = std::sqrt(2);\n```\n", True)
    check("```text\nanything\n```\n", True)
    check("<!-- not run: a plan -->\n```cpp\nauto x = later();\n```\n", True)
    check("```cpp\nint x;\n```\n", False, "without")
    check("<!-- not run: -->\n```cpp\nint x;\n```\n", False, "why?")
    check("<!-- file: examples/readme/gone.cpp -->\n```cpp\nint x;\n```\n", False, "does not exist")
    check("<!-- file: examples/readme/root.cpp#gone -->\n```cpp\nint x;\n```\n", False, "no region")
    check("<!-- run -->\n```cpp\nint x;\n```\n", False, "for sh")
    check("<!-- file: examples/readme/root.cpp#middle -->\n```cpp\ndouble x = std::sqrt(3);\n```\n", False, "differs")
    code, output = readme(tree, "fix")
    expect(code == 0 and "std::sqrt(2)" in page.read_text(), "fix", output)
    mark = "<!-- file: examples/readme/root.cpp#middle -->\n"
    page.write_text(f"Before.\n\n{mark}```cpp\n```\n\nAfter.\n")
    readme(tree, "fix")
    expect(page.read_text() == f"Before.\n\n{mark}```cpp\ndouble x = std::sqrt(2);\n```\n\nAfter.\n", "fix of an empty fence")

    page.write_text("<!-- run -->\n```sh\ntouch ran   # twice\n./not-here\n```\n")
    expect(readme(tree, "commands")[0] == 1 and (tree / "ran").exists(), "a command that fails")
    code, output = readme(tree, "commands", "--done", "./not-here")
    expect(code == 0, "a command that runs elsewhere", output)
print("all found")
