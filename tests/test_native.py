"""The native part: it is the twin of functions in Python, and nothing depends on its being there."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws import native
from rr_py_ws.adapters.ws.protocol import fast_path
from rr_py_ws.core import flush
from rr_py_ws.native import TWINS
from rr_py_ws.wire import publish_call, push
from rr_py_ws.wire.publication import Publication

assert fast_path and flush and publish_call and push  # who is imported has entered the twins

ROOT = Path(__file__).parents[1]

surrogates = st.characters(categories=["Cs"])
texts = st.text(st.one_of(st.characters(), surrogates, st.sampled_from('<>&"\\\b\f\n\u2028\u2029\x7f')))
payloads = st.one_of(
    st.binary(),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    # What is looked at sixteen bytes at a time, with something else at any place.
    st.builds(lambda size, at, byte: (b"x" * size)[:at] + byte + b"y" * 40, st.integers(0, 99),
              st.integers(0, 99), st.binary(min_size=1, max_size=3)),
)  # fmt: skip


def build(folder: Path, **environment: str) -> zipfile.ZipFile:
    """Make a wheel as pip does, without looking for what builds it anywhere else."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        ROOT,
    ]
    subprocess.run(command, check=True, env=os.environ | environment, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_each_function_in_c_has_its_twin_in_python_with_the_same_arguments() -> None:
    stub = ast.parse((ROOT / "plugin" / "rr_py_ws" / "_speed.pyi").read_text())
    declared = {
        function.name: [argument.arg for argument in function.args.posonlyargs]
        for function in stub.body
        if isinstance(function, ast.FunctionDef)
    }
    assert declared == {name: [*inspect.signature(python).parameters] for name, (python, _) in TWINS.items()}
    if native.MISSING is None:
        assert all(compiled is not None for _, compiled in TWINS.values())


@pytest.mark.skipif(native.MISSING is not None, reason=f"no native part: {native.MISSING}")
class TestTwins:
    @given(texts, payloads)
    def test_pushes_are_equal(self, topic: str, payload: bytes) -> None:
        python, compiled = TWINS["encode_push"]
        assert compiled is not None
        publication = Publication(topic, payload)
        assert compiled(publication) == python(publication)

    @pytest.mark.parametrize("publication", [(), ("t",), ("t", "p"), (b"t", b"p"), ("t", None), None, "tp"])
    def test_what_is_no_publication_is_a_type_error(self, publication: object) -> None:
        _, compiled = TWINS["encode_push"]
        assert compiled is not None
        with pytest.raises(TypeError):
            compiled(publication)

    @pytest.mark.parametrize("at", [-1, 1 << 40, 30])
    def test_a_place_that_is_not_in_the_bytes_has_no_calls(self, at: int) -> None:
        _, compiled = TWINS["read_calls"]
        assert compiled is not None
        assert compiled(b"x" * 30, at, {}, 9, 9, 9, 9) == []

    def test_numbers_that_are_none_are_an_error(self) -> None:
        _, compiled = TWINS["read_calls"]
        assert compiled is not None
        with pytest.raises(TypeError):
            compiled(b"", "0", {}, 9, 9, 9, 9)
        with pytest.raises(OverflowError):
            compiled(b"", 1 << 80, {}, 9, 9, 9, 9)


def test_the_variable_asks_for_python_alone() -> None:
    code = (
        "from rr_py_ws import native; from rr_py_ws.wire import push; print(native.VARIANT, push.encode_push)"
    )
    for value, variant in (("1", "pure"), ("0", native.VARIANT), ("", native.VARIANT)):
        environment = os.environ | {"RR_PY_WS_PURE": value}
        said = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert said.stdout.split()[0] == variant
        assert ("<function" in said.stdout) == (variant == "pure")
    assert push.encode_push(Publication("t", b"p")) == b'\x81\x1b{"topic":"t","payload":"p"}'


def test_a_package_that_was_built_without_a_compiler_says_so(tmp_path: Path) -> None:
    """Not which name could not be imported from where."""
    shutil.copytree(
        ROOT / "plugin", tmp_path / "plugin", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    for broken, expected in (False, "it was installed without a C compiler"), (True, "file too short"):
        if broken:
            (tmp_path / "plugin" / "rr_py_ws" / "_speed.abi3.so").touch()
        said = subprocess.run(
            [sys.executable, "-c", "from rr_py_ws import native; print(native.VARIANT, native.MISSING)"],
            env=os.environ | {"PYTHONPATH": str(tmp_path / "plugin"), "RR_PY_WS_PURE": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.startswith("pure ")
        assert expected in said.stdout


def test_a_wheel_has_the_native_part_and_says_for_which_platform(tmp_path: Path) -> None:
    wheel = build(tmp_path)
    if shutil.which("cc") is None:
        pytest.skip("no compiler")
    assert "rr_py_ws/_speed.abi3.so" in wheel.namelist()
    assert "-cp311-abi3-linux" in str(wheel.filename)


def test_without_a_compiler_the_wheel_is_made_and_serves_every_platform(tmp_path: Path) -> None:
    for folder, environment in (
        ("no", {"LDSHARED": "/no/such/cc"}),
        ("fails", {"CC": "false"}),
        ("flags", {"CFLAGS": "-no-such-flag"}),
        ("asked", {"RR_PY_WS_PURE": "1"}),
    ):
        (tmp_path / folder).mkdir()
        wheel = build(tmp_path / folder, **environment)
        assert not [name for name in wheel.namelist() if name.endswith((".so", ".c"))]
        assert str(wheel.filename).endswith("-py3-none-any.whl")
