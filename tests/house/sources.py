#!/usr/bin/env python3
"""What can be proved about the headers by reading them. Usage: sources.py [check...]; without names, every check.

Each check is a function below; its docstring says what it proves and which pitfall it answers. A check that finds
something prints one line a finding, `file:line: what`, and the script exits 1.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
NOT_UNDER_THE_ROOF = {"io"}

findings: list[str] = []


def found(path: pathlib.Path, line: int, what: str) -> None:
    findings.append(f"{path.relative_to(ROOT)}:{line}: {what}")


def headers() -> list[pathlib.Path]:
    return sorted((INCLUDE / "valence").rglob("*.hpp"))


def folder_of(header: pathlib.Path) -> str:
    """The floor a header stands on; "" for an umbrella header."""
    parts = header.relative_to(INCLUDE / "valence").parts
    return parts[0] if len(parts) > 1 else ""


def folders() -> list[str]:
    return sorted({folder_of(h) for h in headers()} - {""})


def without_comments(text: str, strings: bool = False) -> str:
    """The same text with comments (and, if asked, the insides of literals) blanked; lines keep their numbers."""

    def blank(match: re.Match) -> str:
        token = match.group(0)
        if token.startswith(("//", "/*")):
            return re.sub(r"[^\n]", " ", token)
        if not strings:
            return token
        return token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1]

    token = r'R"(?P<d>[^()\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-zA-Z_])\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/'
    return re.sub(token, blank, text, flags=re.S)


def code_lines(header: pathlib.Path):
    """(number, line) with neither comments nor literals nor preprocessor lines."""
    continued = False
    for number, line in enumerate(without_comments(header.read_text(), strings=True).split("\n"), 1):
        directive = continued or line.lstrip().startswith("#")
        continued = directive and line.rstrip().endswith("\\")
        if not directive:
            yield number, line


def includes(header: pathlib.Path) -> list[tuple[int, str, str]]:
    """(line, '"' or '<', what is included)."""
    result = []
    for number, line in enumerate(without_comments(header.read_text()).split("\n"), 1):
        if match := re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line):
            result.append((number, match.group(1), match.group(2)))
    return result


def allowed_edges() -> dict[str, list[str]]:
    edges: dict[str, list[str]] = {}
    path = ROOT / "tools" / "floors.txt"
    for number, line in enumerate(path.read_text().split("\n"), 1):
        line = line.split("#")[0]
        if not line.strip():
            continue
        floor, _, below = line.partition(":")
        floor = floor.strip()
        if floor in edges:
            found(path, number, f"{floor} is listed twice")
        for name in below.split():
            if name not in edges:
                found(path, number, f"{floor} may not include {name}, which is not on a line above")
        edges[floor] = below.split()
    return edges


# ------------------------------------------------------------------------------------------------------------ checks


def floors() -> None:
    """Every header includes its own folder or an allowed lower one, and every folder is in the list. [house]"""
    edges = allowed_edges()
    for header in headers():
        floor = folder_of(header)
        if floor == "":
            continue
        if floor not in edges:
            found(header, 1, f"folder {floor} is not in tools/floors.txt")
            continue
        for line, _, name in includes(header):
            if not name.startswith("valence/"):
                continue
            parts = name.split("/")
            target = parts[1] if len(parts) > 2 else ""
            if target == "":
                found(header, line, f"includes the umbrella {name}; a floor includes the headers it needs")
            elif target != floor and target not in edges[floor]:
                found(header, line, f"{floor} may not include {target} ({name})")


def resolves() -> None:
    """Every include of ours is written "valence/<floor>/<name>.hpp" and exists; nothing else is in quotes."""
    for header in headers():
        for line, bracket, name in includes(header):
            if name.startswith("valence/") and bracket != '"':
                found(header, line, f"<{name}>: our own headers include each other in quotes")
            if bracket == '"' and not name.startswith("valence/"):
                found(header, line, f'"{name}": quotes are for valence/..., angle brackets for everything else')
            if name.startswith("valence/") and not (INCLUDE / name).is_file():
                found(header, line, f"{name} does not exist")


def cycles() -> None:
    """No header includes itself by any way, within a folder too."""
    graph = {str(h.relative_to(INCLUDE)): [n for _, _, n in includes(h) if n.startswith("valence/")] for h in headers()}
    state: dict[str, int] = {}

    def visit(name: str, path: list[str]) -> None:
        if state.get(name) == 2 or name not in graph:
            return
        if state.get(name) == 1:
            found(INCLUDE / name, 1, "cycle: " + " -> ".join(path[path.index(name):] + [name]))
            return
        state[name] = 1
        for target in graph[name]:
            visit(target, path + [name])
        state[name] = 2

    for name in graph:
        visit(name, [])


def pragma_once() -> None:
    """Every header has `#pragma once`, once, before any other code, and no guard macro that could be reused. [C3]"""
    for header in headers():
        lines = [line.strip() for line in without_comments(header.read_text()).split("\n")]
        code = [line for line in lines if line]
        if not code or code[0] != "#pragma once" or code.count("#pragma once") != 1:
            found(header, 1, "the first line of code must be the file's only #pragma once")


def namespace_scope(header: pathlib.Path):
    """Yields (line, declaration) for each declaration that stands directly in a namespace, up to its `{`, `=` or `;`."""
    stack: list[bool] = []  # is this brace a namespace's?
    pending, start, depth = "", 0, 0  # depth: of parentheses and brackets
    for number, line in code_lines(header):
        for character in line + "\n":
            inside = all(stack)
            if character in "([":
                depth += 1
            elif character in ")]":
                depth -= 1
            if depth == 0 and character == "{":
                text = " ".join(pending.split())
                is_namespace = inside and bool(re.search(r"\bnamespace\b[\w:\s]*(\[\[.*\]\])?\s*$", text)
                                               or re.fullmatch(r'extern\s*"\s*"', text))
                if inside:
                    yield start or number, text + " {"
                stack.append(is_namespace)
                pending, start = "", 0
            elif depth == 0 and character == "}":
                if stack:
                    stack.pop()
                pending, start = "", 0
            elif depth == 0 and character == ";":
                if inside and pending.strip():
                    yield start or number, " ".join(pending.split()) + " ;"
                pending, start = "", 0
            elif inside:
                if not pending.strip() and not character.isspace():
                    start = number
                pending += character


def linkage() -> None:
    """No `static`, no unnamed namespace and no constant without `inline` at namespace scope: each file would have its
    own copy of the object, and an inline function that uses it would differ between files. [C2]"""
    for header in headers():
        for line, text in namespace_scope(header):
            text = re.sub(r"^template\s*<.*?>\s*(?=\w)", "", text)
            if re.match(r"(inline\s+)?namespace\s*\{", text):
                found(header, line, "unnamed namespace in a header")
            if re.match(r"(?:\[\[.*?\]\]\s*)?(?:\w+\s+)*?static\s", text) and "(" not in text.split("static")[0]:
                found(header, line, f"static at namespace scope: {text[:70]}")
            declares_object = re.match(r"(const|constexpr|constinit)\s", text) and "(" not in text.split("=")[0]
            if declares_object:
                found(header, line, f"an object without inline at namespace scope: {text[:70]}")
            if re.match(r"using namespace\b", text):
                found(header, line, "using namespace at namespace scope")


def random_numbers() -> None:
    """No standard distribution, shuffle, sample or rand: they give other numbers with another standard library. [N1]"""
    for header in headers():
        for line, text in code_lines(header):
            if re.search(r"\bstd::(\w+_distribution|shuffle|sample|random_shuffle|rand|mt19937\w*|random_device)\b", text):
                found(header, line, f"{text.strip()[:70]}: draw from valence::Rng")
        for line, _, name in includes(header):
            if name == "random":
                found(header, line, "<random> is never needed")


def heavy_headers() -> None:
    """Standard headers that cost every user compile time stay out; io may read streams."""
    heavy = {"iostream", "regex", "Eigen/Dense", "Eigen/Eigen", "bits/stdc++.h", "fmt/ranges.h", "fmt/chrono.h"}
    for header in headers():
        for line, _, name in includes(header):
            if name in heavy or (name in {"fstream", "sstream", "iomanip"} and folder_of(header) not in {"io", ""}):
                found(header, line, f"<{name}> is heavy: include the part that is needed, or move to io")


def macro_names() -> None:
    """No name of ours that somebody else's header defines as a macro, as far as reading can tell (std::min without
    parentheses is found by compiling after `#define min`; this finds the rest). [C4]"""
    for header in headers():
        for line, text in code_lines(header):
            for name in re.findall(r"\b(?:class|typename|int|std::size_t|std::ptrdiff_t|auto|bool|double|float)\s+(I|N|small|near|far|ERROR|CHECK|DIFFERENCE|IN|OUT|OPTIONAL)\b", text):
                found(header, line, f"{name} is a macro in headers that our users include; choose another name")


def configuration() -> None:
    """No header asks for NDEBUG: types must be the same with checks on and off (assert inside functions is fine). And
    nobody defines what belongs to fmt or Eigen. [C9] [C10]"""
    for header in headers():
        for number, line in enumerate(without_comments(header.read_text()).split("\n"), 1):
            if re.match(r"\s*#\s*(if|ifdef|ifndef|elif).*\bNDEBUG\b", line):
                found(header, number, "a header that depends on NDEBUG")
            if match := re.match(r"\s*#\s*(?:define|undef)\s+(\w+)", line):
                if not match.group(1).startswith("VALENCE_"):
                    found(header, number, f"defines {match.group(1)}; our macros begin with VALENCE_")


def umbrellas() -> None:
    """Each folder has one umbrella header beside it that includes every header of the folder (detail folders apart) and
    nothing else of ours, and the roof includes every umbrella but io's."""
    for folder in folders():
        umbrella = INCLUDE / "valence" / f"{folder}.hpp"
        if not umbrella.exists():
            found(INCLUDE / "valence" / folder, 1, f"folder without its umbrella header valence/{folder}.hpp")
            continue
        seen = {name for _, _, name in includes(umbrella)}
        expected = {str(h.relative_to(INCLUDE)) for h in headers() if folder_of(h) == folder and h.parent.name == folder}
        for name in sorted(expected - seen):
            found(umbrella, 1, f"does not include {name}")
        for name in sorted(seen - expected):
            if not (name.startswith(f"valence/{folder}/") and (INCLUDE / name).is_file()):
                found(umbrella, 1, f"includes {name}, which is not in its folder")
    roof = INCLUDE / "valence" / "valence.hpp"
    seen = {name for _, _, name in includes(roof)} if roof.exists() else set()
    expected = {f"valence/{folder}.hpp" for folder in folders() if folder not in NOT_UNDER_THE_ROOF}
    for name in sorted(expected ^ seen):
        found(roof, 1, f"{name}: the roof includes every umbrella except io's, and nothing else")
    for header in headers():
        if folder_of(header) == "" and header.stem != "valence" and header.stem not in folders():
            found(header, 1, "an umbrella header without a folder")


def tests_mirror() -> None:
    """Every folder of headers has a folder of tests."""
    for folder in folders():
        if not list((ROOT / "tests" / folder).glob("*_test.cpp")):
            found(INCLUDE / "valence" / folder, 1, f"no tests/{folder}/*_test.cpp")


def architecture() -> None:
    """docs/architecture.md tells the truth: its table has every floor of tools/floors.txt in that order, marked "today"
    exactly where the folder exists."""
    path = ROOT / "docs" / "architecture.md"
    rows = re.findall(r"^\| `(\w+)/` \|[^|]*\| (today|planned) \|", path.read_text(), flags=re.M)
    for listed, (row, state) in zip(allowed_edges(), rows):
        if listed != row:
            found(path, 1, f"the table has {row} where tools/floors.txt has {listed}")
            return
        if (state == "today") != (row in folders()):
            found(path, 1, f"the table says {row} is {state}")
    if len(rows) != len(allowed_edges()):
        found(path, 1, f"the table has {len(rows)} floors, tools/floors.txt {len(allowed_edges())}")


def version() -> None:
    """The version is the same in core/config.hpp, CHANGELOG.md and CITATION.cff."""
    config = (INCLUDE / "valence/core/config.hpp").read_text()
    number = re.search(r'#define VALENCE_VERSION "([^"]+)"', config).group(1)
    parts = [re.search(rf"#define VALENCE_VERSION_{p} (\d+)", config).group(1) for p in ("MAJOR", "MINOR", "PATCH")]
    if ".".join(parts) != number:
        found(INCLUDE / "valence/core/config.hpp", 1, f"VALENCE_VERSION is {number}, its parts {'.'.join(parts)}")
    if f"## {number}" not in (ROOT / "CHANGELOG.md").read_text():
        found(ROOT / "CHANGELOG.md", 1, f"no entry for {number}")
    if f"version: {number}\n" not in (ROOT / "CITATION.cff").read_text():
        found(ROOT / "CITATION.cff", 1, f"not version {number}")


def test_names() -> None:
    """No test's name has an open bracket: CMake would take it and the names that follow for one, and run none of them."""
    for path in sorted((ROOT / "tests").glob("*/*_test.cpp")):
        text = path.read_text(encoding="utf-8")
        for name in re.finditer(r'(?:TEST_CASE|TEMPLATE_TEST_CASE)\(\s*"((?:[^"\\]|\\.)*)"', text):
            if name.group(1).count("[") != name.group(1).count("]"):
                found(path, text.count("\n", 0, name.start()) + 1, f'the name "{name.group(1)}" has an open bracket')


CHECKS = [floors, resolves, cycles, pragma_once, linkage, random_numbers, heavy_headers, macro_names, configuration,
          umbrellas, tests_mirror, test_names, architecture, version]


def main() -> int:
    wanted = sys.argv[1:] or [check.__name__ for check in CHECKS]
    if wanted == ["--list"]:
        print("\n".join(check.__name__ for check in CHECKS))
        return 0
    by_name = {check.__name__: check for check in CHECKS}
    for name in wanted:
        by_name[name]()
    print("\n".join(findings))
    print(f"{len(headers())} headers, {len(wanted)} checks, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
