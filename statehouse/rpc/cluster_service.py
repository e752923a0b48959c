"""Owns statehouse.v2.ClusterService: status and membership, from request to response."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from statehouse_proto.v2 import cluster_pb2

from statehouse import addresses
from statehouse.core.errors import Failure, Reason
from statehouse.rpc import convert

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from statehouse.rpc.backend import Backend

_MEMBER_NAME_CHARACTERS_MAX = 256


class ClusterService:
    """The native service for operators; `version` and `git_sha` are this build's."""

    def __init__(self, backend: Backend, version: str, git_sha: str) -> None:
        self._backend = backend
        self._version = version
        self._git_sha = git_sha

    async def status(self, request: cluster_pb2.StatusRequest) -> cluster_pb2.StatusResponse:
        return convert.status_to_wire(self._backend.status(), self._version, self._git_sha)

    async def add_member(
        self, request: cluster_pb2.AddMemberRequest
    ) -> AsyncGenerator[cluster_pb2.AddMemberResponse, None]:
        check_address("peer_address", request.peer_address)
        async with aclosing(self._backend.add_member(request.peer_address)) as steps:
            async for step in steps:
                yield convert.add_step_to_wire(step)

    async def remove_member(
        self, request: cluster_pb2.RemoveMemberRequest
    ) -> cluster_pb2.RemoveMemberResponse:
        _check_member_name(request.name, required=True)
        left = await self._backend.remove_member(request.name)
        return cluster_pb2.RemoveMemberResponse(
            members=[convert.member_to_wire(member) for member in left]
        )

    async def transfer_leadership(
        self, request: cluster_pb2.TransferLeadershipRequest
    ) -> cluster_pb2.TransferLeadershipResponse:
        _check_member_name(request.name, required=False)
        leader = await self._backend.transfer(request.name)
        return cluster_pb2.TransferLeadershipResponse(
            leader_name=leader.name, leader_address=leader.address, term=leader.term
        )


def check_address(field: str, address: str) -> None:
    """Refuses what is no host:port; whether someone listens there is found out by dialling."""
    try:
        addresses.parse(address)
    except ValueError as error:
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"{field}: {str(error)[:200]}; give the address where the node listens for its peers",
        ) from None


def _check_member_name(name: str, *, required: bool) -> None:
    if required and not name:
        raise Failure(Reason.INVALID_ARGUMENT, "name is empty; name the member, such as n2")
    if len(name) > _MEMBER_NAME_CHARACTERS_MAX or not name.isprintable():
        raise Failure(Reason.INVALID_ARGUMENT, "name is too long or not printable")
