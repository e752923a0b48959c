"""Owns the turning of the shipped descriptor set into message classes; knows no message by name."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FileDescriptor

# The v1 messages refer to it: importing it registers its file in the default pool.
_STRUCT = struct_pb2.Struct


def _register() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.Default()
    shipped = resources.files(__package__).joinpath("descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(shipped).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _register()


def _message_class(descriptor: Descriptor) -> type[Any]:
    # Asking for the outer class makes the nested ones reachable as its attributes.
    cls: type[Any] = message_factory.GetMessageClass(descriptor)
    return cls


def export(namespace: dict[str, object], file_name: str) -> None:
    """Puts the file's messages, enums and enum values into a module, as protoc's output would."""
    file: FileDescriptor = POOL.FindFileByName(file_name)
    namespace["DESCRIPTOR"] = file
    for name, message in file.message_types_by_name.items():
        namespace[name] = _message_class(message)
    for name, enum in file.enum_types_by_name.items():
        namespace[name] = _enum_wrapper(enum)
        for value in enum.values:
            namespace[value.name] = value.number


def _enum_wrapper(enum: Any) -> object:
    from google.protobuf.internal import enum_type_wrapper

    return enum_type_wrapper.EnumTypeWrapper(enum)
