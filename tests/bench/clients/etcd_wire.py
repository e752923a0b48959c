"""Owns the few messages of etcd's v3 API that the bench sends, as classes made here.

A well-kept etcd client for Python hardly exists, and what a client library adds would count against
etcd: so it is asked by its own gRPC API, with the fewest fields. Field numbers are those of etcd's
public `rpc.proto` and `kv.proto`; fields left out are skipped by protobuf.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto

_SCALARS = {
    "bytes": _Field.TYPE_BYTES,
    "string": _Field.TYPE_STRING,
    "bool": _Field.TYPE_BOOL,
    "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64,
}

# Of each message: its fields as "type name number"; "*" for a repeated one.
_MESSAGES = {
    "ResponseHeader": ("uint64 member_id 2", "int64 revision 3"),
    "KeyValue": ("bytes key 1", "int64 mod_revision 3", "bytes value 5"),
    "Event": ("KeyValue kv 2",),
    "PutRequest": ("bytes key 1", "bytes value 2"),
    "PutResponse": ("ResponseHeader header 1",),
    "RangeRequest": ("bytes key 1", "bytes range_end 2", "int64 revision 4"),
    "RangeResponse": ("ResponseHeader header 1", "*KeyValue kvs 2"),
    "WatchCreateRequest": ("bytes key 1", "bytes range_end 2", "int64 start_revision 3"),
    "WatchRequest": ("WatchCreateRequest create_request 1",),
    "WatchResponse": (
        "ResponseHeader header 1",
        "bool created 3",
        "bool canceled 4",
        "*Event events 11",
    ),
    "StatusRequest": (),
    "StatusResponse": ("ResponseHeader header 1", "string version 2", "uint64 leader 4"),
}

PUT = "/etcdserverpb.KV/Put"
RANGE = "/etcdserverpb.KV/Range"
WATCH = "/etcdserverpb.Watch/Watch"
STATUS = "/etcdserverpb.Maintenance/Status"


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="bench_etcd.proto", package="bench_etcd", syntax="proto3"
    )
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for written in fields:
            kind, name, number = written.split()
            label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
            field = described.field.add(name=name, number=int(number), label=label)
            kind = kind.removeprefix("*")
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".bench_etcd.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench_etcd.{name}"))
        for name in _MESSAGES
    }


_MADE = _classes()
PutRequest: Any = _MADE["PutRequest"]
PutResponse: Any = _MADE["PutResponse"]
RangeRequest: Any = _MADE["RangeRequest"]
RangeResponse: Any = _MADE["RangeResponse"]
WatchCreateRequest: Any = _MADE["WatchCreateRequest"]
WatchRequest: Any = _MADE["WatchRequest"]
WatchResponse: Any = _MADE["WatchResponse"]
StatusRequest: Any = _MADE["StatusRequest"]
StatusResponse: Any = _MADE["StatusResponse"]


def unary(channel: Any, path: str, request: Any, response: Any) -> Any:
    """A callable of a unary method, on a channel of grpc or of grpc.aio."""
    return channel.unary_unary(
        path,
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
