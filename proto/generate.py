"""Generates `plugin/rr_py_ws/wire/pb/` from the `.proto` files here: `python proto/generate.py`.

The output is flat on purpose: protoc turns a path like `websockets/v1/` into a package that hides the
`websockets` library. The modules need a protobuf runtime at least as new as the grpcio-tools that wrote them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

SOURCES = Path(__file__).resolve().parent
OUTPUT = SOURCES.parent / "plugin" / "rr_py_ws" / "wire" / "pb"


def generate(output: Path) -> int:
    """Write a module and a type stub for each `.proto` file; return protoc's exit code."""
    flags = [f"-I{SOURCES}", f"--python_out={output}", f"--pyi_out={output}"]
    code = int(protoc.main(["protoc", *flags, *map(str, sorted(SOURCES.glob("*.proto")))]))
    for stub in output.glob("*_pb2.pyi"):  # protoc's stubs are not clean under mypy --strict
        stub.write_text('# mypy: disable-error-code="type-arg"\n' + stub.read_text())
    return code


if __name__ == "__main__":
    sys.exit(generate(OUTPUT))
