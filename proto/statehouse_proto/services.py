"""Owns what a service is on the wire: its methods, their message classes, whether they stream.

One description serves clients (callables on a channel) and servers (handlers), so neither needs
generated stubs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import message_factory

from statehouse_proto._loader import POOL
from statehouse_proto.v1 import statehouse_pb2 as _v1
from statehouse_proto.v2 import cluster_pb2 as _cluster
from statehouse_proto.v2 import history_pb2 as _history
from statehouse_proto.v2 import state_pb2 as _state

V1_SERVICE = _v1.DESCRIPTOR.services_by_name["StatehouseService"].full_name
STATE_SERVICE = _state.DESCRIPTOR.services_by_name["StateService"].full_name
HISTORY_SERVICE = _history.DESCRIPTOR.services_by_name["HistoryService"].full_name
CLUSTER_SERVICE = _cluster.DESCRIPTOR.services_by_name["ClusterService"].full_name


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: ``path`` is ``/package.Service/Name``."""

    name: str
    path: str
    request: type[Any]
    response: type[Any]
    client_streaming: bool
    server_streaming: bool


@cache
def methods(service: str) -> dict[str, Method]:
    """The methods of a service by name; KeyError for a service this package does not ship."""
    descriptor = POOL.FindServiceByName(service)
    return {
        method.name: Method(
            name=method.name,
            path=f"/{service}/{method.name}",
            request=message_factory.GetMessageClass(method.input_type),
            response=message_factory.GetMessageClass(method.output_type),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )
        for method in descriptor.methods
    }
