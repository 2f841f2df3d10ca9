#!/usr/bin/env python3
"""Checks what the compiler does not: who may include whom, where foreign headers stand, and how long things may be.

usage: layers.py SOURCE_FOLDER; prints FILE:LINE: RULE for every violation and exits with 1 if there is one.
"""
import pathlib
import re
import sys

# A folder of src/ may include itself, what stands in an earlier row, and the public headers.
ROWS = [
    ["util"],
    ["catalog"],
    ["mapping"],
    ["plan"],
    ["device"],
    ["io", "comm", "convert", "sink"],
    ["exec"],
    ["report", "cli"],
]

# The command line puts the pieces together, reports among them.
ALSO_ALLOWED = {("cli", "report")}

# Foreign headers that only one place knows; a place ends in / if it is a folder. bench/ measures them as they are.
PLACES = {
    "mpi.h": ["src/comm/", "include/shardwise/mpi.hpp", "tests/mpi/", "tests/support/"],
    "hdf5.h": ["src/sink/"],
    "liburing.h": ["src/io/"],
    "simdjson.h": ["src/catalog/"],
    "pcre2.h": ["src/mapping/pattern.cpp"],
    "xxhash.h": ["src/util/"],
    "boost/program_options.hpp": ["src/cli/"],
    "cuda_runtime.h": ["src/device/", "src/convert/"],
    "cufile.h": ["src/io/", "tests/support/"],
    "nccl.h": ["src/comm/"],
}

MOST_LINES = 450
MOST_FUNCTION_LINES = 60
MOST_COLUMNS = 120

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif)\b.*\bSHARDWISE_")
LITERAL = re.compile(
    r"""//[^\n]*|/\*.*?\*/                        # comments
      |R"([^()\s\\]{0,16})\(.*?\)\1"            # raw texts
      |"(?:\\.|[^"\\\n])*"                      # texts
      |(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'     # characters; an apostrophe inside a number is none
    """,
    re.DOTALL | re.VERBOSE,
)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)  # with the lines that continue it
# Not functions though a parenthesis may precede their brace.
BLOCK_WORDS = re.compile(r"\b(namespace|class|struct|enum|union|extern)\b")


class Checker:
    def __init__(self, root):
        self.root = root
        self.violations = []

    def complain(self, path, line, rule):
        self.violations.append(f"{path.relative_to(self.root)}:{line}: {rule}")

    def check_includes(self, path, lines):
        name = path.relative_to(self.root).as_posix()
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if match is None:
                continue
            bracket, header = match.groups()
            places = PLACES.get(header)
            if places and not name.startswith(("bench/", *places)):
                self.complain(path, number, f"<{header}> belongs in {' or '.join(places)} only")
            if header.startswith("shardwise/") and bracket == '"':
                self.complain(path, number, f"public headers are included as <{header}>")
                continue
            if name.startswith("include/") and not header.startswith("shardwise/") and bracket == '"':
                self.complain(path, number, f"a public header includes the private {header}")
            if name.startswith("src/") and bracket == '"':
                self.check_layer(path, number, name.split("/")[1], header)

    def check_layer(self, path, number, own, header):
        other = header.split("/")[0]
        rows = {folder: i for i, row in enumerate(ROWS) for folder in row}
        if other not in rows or "/" not in header:
            self.complain(path, number, f'"{header}" is not written as FOLDER/FILE with a folder of src/')
        elif own not in rows:
            self.complain(path, number, f"src/{own} has no place in the order of layers ({path.name})")
        elif other != own and rows[other] >= rows[own] and (own, other) not in ALSO_ALLOWED:
            self.complain(path, number, f"src/{own} may not include {other}/: dependencies go one way")

    def check_conditions(self, path, lines):
        """Back ends that are not built are other source files, not conditions in callers."""
        for number, line in enumerate(lines, 1):
            if CONDITION.match(line):
                self.complain(path, number, "no #if on SHARDWISE_ options; choose a source file in CMake")

    def check_sizes(self, path, lines):
        if len(lines) > MOST_LINES:
            self.complain(path, MOST_LINES + 1, f"{len(lines)} lines, at most {MOST_LINES}")
        for number, line in enumerate(lines, 1):
            if len(line) > MOST_COLUMNS:
                self.complain(path, number, f"{len(line)} columns, at most {MOST_COLUMNS}")

    def check_functions(self, path, text):
        for begin, end in functions(blank_literals(text)):
            if end - begin + 1 > MOST_FUNCTION_LINES:
                self.complain(path, begin, f"a function of {end - begin + 1} lines, at most {MOST_FUNCTION_LINES}")

    def check(self, path):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        self.check_sizes(path, lines)
        if path.suffix in (".cpp", ".cu", ".hpp"):
            self.check_includes(path, lines)
            self.check_conditions(path, lines)
            self.check_functions(path, text)


def blank_literals(text):
    """Comments, literals and what is for the preprocessor replaced by spaces; lines stay where they are."""
    for pattern in (LITERAL, DIRECTIVE):
        text = pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    return text


def functions(text):
    """(first line, last line) of every outermost brace block that follows a parameter list."""
    depth = 0
    open_function = None  # (depth, line, head)
    head = ""             # text since the last ; { or }
    line = 1
    for at, char in enumerate(text):
        if char == "\n":
            line += 1
        if char == "{":
            is_function = ")" in head and not BLOCK_WORDS.search(head.split("(")[0])
            if open_function is None and is_function:
                open_function = (depth, line - head.lstrip().count("\n"), head)
            depth += 1
        elif char == "}":
            depth -= 1
            if open_function is not None and open_function[0] == depth:
                _, begin, head = open_function
                open_function = None
                if text[at + 1 : at + 200].lstrip().startswith((",", "{")):
                    continue  # a member's initializer: the body is still to come
                yield begin, line
        head = "" if char in ";{}" else head + char


def sources(root):
    for folder in ("bench", "include", "src", "tests"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".cpp", ".cu", ".hpp", ".py") and path.is_file():
                yield path


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    checker = Checker(root)
    count = 0
    for path in sources(root):
        checker.check(path)
        count += 1
    print(*checker.violations, sep="\n")
    print(f"{count} files, {len(checker.violations)} violations")
    return 1 if checker.violations or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
