"""What the scripts of tests/house share: the build's own compiler and include paths, and running commands."""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wdouble-promotion", "-Werror"]
SKIPPED = 77  # ctest's SKIP_RETURN_CODE for these tests


def fail(message: str) -> None:
    sys.stdout.flush()
    sys.exit(f"FAILED: {message}")


def skip(reason: str) -> None:
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def run(*command, ok: bool = True, **options) -> subprocess.CompletedProcess:
    """Runs a command; a failure ends the test with the command and what it printed."""
    command = [str(word) for word in command]
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            stdin=subprocess.DEVNULL, **options)
    if ok and result.returncode != 0:
        print("$", shlex.join(command))
        print(result.stdout)
        fail(f"exit {result.returncode}")
    return result


def find_clang() -> str | None:
    """A clang that valence supports, or nothing."""
    for name in ["clang++"] + [f"clang++-{version}" for version in range(16, 24)]:
        if path := shutil.which(name):
            version = run(path, "-dumpversion", ok=False).stdout.split(".")[0]
            if version.isdigit() and int(version) >= 16:
                return path
    return None


class House:
    """One test's configuration: `House.from_arguments()` reads the file that tests/house/CMakeLists.txt writes."""

    def __init__(self, config: dict, folder: pathlib.Path, compiler: str | None = None):
        self.cmake = config["cmake"]
        self.generator = config["generator"]
        self.compiler = compiler or config["compiler"]
        self.includes = [f"-isystem{path}" for path in dict.fromkeys(config["includes"].split(";"))
                         if path and path != "/usr/include"]
        self.libraries = [path for path in config["libraries"].split(";") if path]
        self.prefix_path = config["prefix_path"]
        self.json = config["json"]
        self.folder = folder
        self.launcher = [config["ccache"]] if config["ccache"] and not config["ccache"].endswith("NOTFOUND") else []

    @staticmethod
    def from_arguments(name: str, *extra) -> tuple["House", argparse.Namespace]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--config", type=pathlib.Path, required=True)
        parser.add_argument("--clang", action="store_true", help="use clang instead of the build's compiler")
        for words, options in extra:
            parser.add_argument(*words, **options)
        arguments = parser.parse_args()
        compiler = None
        if arguments.clang and not (compiler := find_clang()):
            skip("no clang 16 or later on this machine")
        if arguments.clang:
            name += "_clang"
        folder = arguments.config.parent / name
        folder.mkdir(parents=True, exist_ok=True)
        return House(json.loads(arguments.config.read_text()), folder, compiler), arguments

    @property
    def is_gcc(self) -> bool:
        return "clang" not in run(self.compiler, "--version").stdout.lower()

    def compile(self, source: pathlib.Path, target: pathlib.Path, *flags, ok: bool = True):
        """Compiles one file with our warnings as errors; -O0 unless a flag says otherwise."""
        return run(*self.launcher, self.compiler, "-std=c++20", "-O0", *WARNINGS, f"-I{ROOT / 'include'}", *self.includes,
                   *flags, "-c", source, "-o", target, ok=ok,
                   env=os.environ | {"CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1"})

    def link(self, target: pathlib.Path, *words):
        return run(self.compiler, *words, "-o", target, *self.libraries)

    def headers(self) -> list[str]:
        """Every header, as it is included; those of io only where their JSON library is there."""
        names = sorted(str(h.relative_to(ROOT / "include")) for h in (ROOT / "include/valence").rglob("*.hpp"))
        return [n for n in names if self.json or not n.startswith(("valence/io/", "valence/io."))]
