"""The committed code in wire/pb must say what the files in proto/ say."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto"
SOURCES = sorted(path.name for path in PROTO.glob("*.proto"))


@pytest.mark.parametrize("source", SOURCES)
def test_generated_code_is_current(source: str, tmp_path: Path) -> None:
    """If not: `python proto/generate.py`. Another version of protoc makes no difference to a descriptor."""
    compiled = tmp_path / "descriptors"
    assert protoc.main(["protoc", f"-I{PROTO}", f"--descriptor_set_out={compiled}", str(PROTO / source)]) == 0
    [expected] = FileDescriptorSet.FromString(compiled.read_bytes()).file
    for message in expected.message_type:
        for field in message.field:
            field.ClearField("json_name")
    module = importlib.import_module(f"rr_py_ws.wire.pb.{source.removesuffix('.proto')}_pb2")
    assert FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) == expected
    assert slots(Path(str(module.__file__)).with_suffix(".pyi")) == {
        message.name: tuple(field.name for field in message.field) for message in expected.message_type
    }


def slots(stub: Path) -> dict[str, tuple[str, ...]]:
    """Return the `__slots__` of each class in a type stub: its fields."""
    return {
        node.name: ast.literal_eval(item.value)
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, ast.Assign)
    }


def test_every_schema_has_code() -> None:
    assert SOURCES == ["broadcast.proto", "push.proto", "websockets.proto"]
