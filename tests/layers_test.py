#!/usr/bin/env python3
"""layers.py finds what it is there for: one small tree of sources for each rule."""
import pathlib
import tempfile
import unittest

import layers

LONG_BODY = "".join(f"    call({i});\n" for i in range(60))

VIOLATIONS = [
    # (file, content, line, fragment of the message)
    ("src/util/a.cpp", '#include "catalog/b.hpp"\n', 1, "src/util may not include catalog/"),
    ("src/io/a.cpp", '\n#include "comm/b.hpp"\n', 2, "src/io may not include comm/"),
    ("src/plan/a.cpp", '#include "exec/b.hpp"\n', 1, "src/plan may not include exec/"),
    ("src/report/a.cpp", '#include "cli/b.hpp"\n', 1, "src/report may not include cli/"),
    ("src/other/a.cpp", '#include "util/b.hpp"\n', 1, "src/other has no place"),
    ("src/io/a.cpp", '#include "b.hpp"\n', 1, "is not written as FOLDER/FILE"),
    ("src/exec/a.hpp", "#include <mpi.h>\n", 1, "<mpi.h> belongs in src/comm/"),
    ("include/shardwise/a.hpp", "#include <mpi.h>\n", 1, "<mpi.h> belongs"),
    ("src/util/a.cpp", "# include <simdjson.h>\n", 1, "<simdjson.h> belongs in src/catalog/"),
    ("src/mapping/a.cpp", "#include <pcre2.h>\n", 1, "<pcre2.h> belongs in src/mapping/pattern.cpp"),
    ("include/shardwise/a.hpp", '#include "util/b.hpp"\n', 1, "a public header includes the private util/b.hpp"),
    ("src/util/a.cpp", '#include "shardwise/b.hpp"\n', 1, "public headers are included as <shardwise/b.hpp>"),
    ("src/sink/a.cpp", "int a;\n#ifdef SHARDWISE_HAS_HDF5\n#endif\n", 2, "no #if on SHARDWISE_ options"),
    ("src/sink/a.cpp", "#if defined(SHARDWISE_HAS_HDF5)\n#endif\n", 1, "no #if on SHARDWISE_ options"),
    ("src/util/a.cpp", "// " + "x" * 118 + "\n", 1, "121 columns"),
    ("tests/e2e/a.py", "x = 1\n" * 451, 451, "451 lines"),
    ("src/util/a.cpp", "namespace n {\n\nvoid f(int a,\n       int b) {\n" + LONG_BODY + "}\n}\n", 3, "of 63 lines"),
    ("src/util/a.cpp", "struct S {\n    S() : a_{1} {\n" + LONG_BODY + "    }\n};\n", 2, "of 62 lines"),
]

ALLOWED = [
    ("src/exec/a.cpp", '#include "comm/b.hpp"\n#include "exec/c.hpp"\n#include <shardwise/plan.hpp>\n'),
    ("src/cli/a.cpp", '#include "report/b.hpp"\n'),
    ("src/comm/a.cpp", "#include <mpi.h>\n"),
    ("include/shardwise/mpi.hpp", "#include <mpi.h>\n"),
    ("bench/a.cpp", "#include <liburing.h>\n"),
    ("src/util/a.cpp", "void f() {\n" + LONG_BODY[:500] + "}\nvoid g() {\n" + LONG_BODY[:500] + "}\n"),
    ("src/util/a.cpp", "class C {\n    void f() {}\n" + "    int a;\n" * 70 + "};\n"),
    ("src/util/a.cpp", "#define LIST(X) \\\n    X(a) X(b)\nnamespace n {\n" + "int a;\n" * 70 + "}\n"),
    ("src/util/a.cpp", 'char const* t = "{(";  // {(\nint n = 1\'000;\nvoid f() {}\n' + "int a;\n" * 70),
    ("src/util/a.cpp", "// " + "x" * 117 + "\n"),
]


def violations_of(name, content):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_text(content, encoding="utf-8")
        checker = layers.Checker(root)
        for source in layers.sources(root):
            checker.check(source)
        return checker.violations


class LayersTest(unittest.TestCase):
    def test_violations_are_found_where_they_are(self):
        for name, content, line, message in VIOLATIONS:
            with self.subTest(name=name, message=message):
                found = violations_of(name, content)
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(f"{name}:{line}: "), found)
                self.assertIn(message, found[0])

    def test_what_is_allowed_passes(self):
        for name, content in ALLOWED:
            with self.subTest(name=name, content=content[:60]):
                self.assertEqual(violations_of(name, content), [])


if __name__ == "__main__":
    unittest.main()
