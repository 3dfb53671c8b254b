from __future__ import annotations

from pathlib import Path

from rr_py_ws.adapters.http.middleware.mime_types import mime_types


def write(path: Path, text: str) -> tuple[str, ...]:
    path.write_text(text)
    return (str(path),)


def test_a_few_are_built_in() -> None:
    known = mime_types((), ())
    assert known[".js"] == "text/javascript; charset=utf-8"
    assert known[".svg"] == "image/svg+xml"
    assert ".txt" not in known  # sniffed, as in Go 1.19


def test_a_database_of_globs_adds_to_them(tmp_path: Path) -> None:
    text = "# weight\n60:text/x-a:*.a\n50:text/x-b:*.a\n50:text/plain:*.css\n50:x/y:*.b[c]\n50:x/z:R*\n50:x\n"
    known = mime_types(("/missing", *write(tmp_path / "globs2", text)), write(tmp_path / "types", "x/t t\n"))
    assert known[".a"] == "text/x-a; charset=utf-8"
    assert known[".css"] == "text/css; charset=utf-8"
    assert not {".b[c]", ".t"} & known.keys()


def test_without_it_tables_of_types_count(tmp_path: Path) -> None:
    text = "# comment\n\nimage/x-a a A2 # b\ntext/css css\ntext/x;charset=latin1 x\nnothing\n"
    known = mime_types((), ("/missing", *write(tmp_path / "types", text)))
    assert (known[".a"], known[".A2"], known[".css"]) == ("image/x-a", "image/x-a", "text/css; charset=utf-8")
    assert known[".x"] == "text/x;charset=latin1"
    assert ".b" not in known
