from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from statehouse_proto.v2 import cluster_pb2

from tests.helpers.served_node import SERVICES, run, serving

Code = grpc.StatusCode


def test_status_tells_who_leads_who_belongs_and_how_far_it_is(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            told = await node.call("cluster", "Status")
            assert (told.name, told.cluster_id, told.lifecycle) == ("n1", "c1", "serving")
            assert told.role == cluster_pb2.ROLE_LEADER
            assert (told.leader_name, told.leader_address) == ("n1", node.address)
            assert [member.name for member in told.members] == ["n1", "n2"]
            assert (told.commit_ts, told.version, told.git_sha) == (1, "1.2.3", "abc")
            assert len(told.chain_head) == 32
            node.consensus.follow(None)
            told = await node.call("cluster", "Status")
            assert (told.leader_name, told.role) == ("", cluster_pb2.ROLE_FOLLOWER)

    run(scenario)


def test_adding_a_member_tells_each_step(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            steps = await node.call("cluster", "AddMember", peer_address="127.0.0.1:7")
            phases = [cluster_pb2.AddMemberResponse.Phase.Name(step.phase) for step in steps]
            assert phases == ["PHASE_SNAPSHOT", "PHASE_CATCHING_UP", "PHASE_VOTING"]
            assert [step.member.voter for step in steps] == [False, False, True]
            assert (steps[0].bytes_sent, steps[0].bytes_total, steps[0].entries_behind) == (1, 2, 3)

    run(scenario)


def test_a_member_that_cannot_be_added_is_refused_in_words(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            refused = await node.refused("cluster", "AddMember", peer_address="127.0.0.1:9")
            assert (refused.code, refused.reason) == (
                Code.FAILED_PRECONDITION,
                "REASON_MEMBERSHIP_REFUSED",
            )
            assert "127.0.0.1:9" in refused.text

    run(scenario)


def test_removing_a_member_tells_who_is_left(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            told = await node.call("cluster", "RemoveMember", name="n2")
            assert [member.name for member in told.members] == ["n1"]
            refused = await node.refused("cluster", "RemoveMember", name="n7")
            assert refused.reason == "REASON_MEMBERSHIP_REFUSED"

    run(scenario)


def test_a_leader_that_is_to_be_removed_hands_over_and_names_the_next(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            refused = await node.refused("cluster", "RemoveMember", name="n1")
            assert refused.reason == "REASON_NOT_LEADER"
            assert (refused.details.leader.name, refused.details.leader.address) == (
                "n2",
                "127.0.0.1:22",
            )

    run(scenario)


def test_leadership_is_handed_over(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            told = await node.call("cluster", "TransferLeadership")
            assert (told.leader_name, told.leader_address, told.term) == ("n2", "127.0.0.1:22", 2)
            refused = await node.refused("cluster", "TransferLeadership", name="n1")
            assert refused.reason == "REASON_NOT_LEADER"

    run(scenario)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("AddMember", {}),
        ("AddMember", {"peer_address": "nowhere"}),
        ("AddMember", {"peer_address": "host:99999"}),
        ("AddMember", {"peer_address": "x" * 5000 + ":1"}),
        ("AddMember", {"peer_address": "a\nb:1"}),
        ("RemoveMember", {}),
        ("RemoveMember", {"name": "x" * 5000}),
        ("RemoveMember", {"name": "\x00"}),
        ("TransferLeadership", {"name": "\x00"}),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_words(tmp_path, name, fields):
    async def scenario():
        async with serving(tmp_path) as node:
            refused = await node.refused("cluster", name, **fields)
            assert refused.code is Code.INVALID_ARGUMENT

    run(scenario)


def test_only_the_leader_changes_members(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            node.consensus.follow(node.consensus.other)
            for name, fields in (
                ("AddMember", {"peer_address": "127.0.0.1:7"}),
                ("RemoveMember", {"name": "n2"}),
                ("TransferLeadership", {}),
            ):
                refused = await node.refused("cluster", name, **fields)
                assert refused.reason == "REASON_NOT_LEADER"

    run(scenario)


def test_health_means_able_to_answer(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            health = health_pb2_grpc.HealthStub(node.channel)

            async def statuses(names):
                await node.server.tell_health()
                answers = [
                    await health.Check(health_pb2.HealthCheckRequest(service=name))
                    for name in names
                ]
                return [
                    health_pb2.HealthCheckResponse.ServingStatus.Name(a.status) for a in answers
                ]

            names = ["", *(SERVICES[name] for name in ("v1", "state", "history", "cluster"))]
            assert await statuses(names) == ["SERVING"] * 5
            node.consensus.follow(None)
            no_leader = ["NOT_SERVING"] * 4 + ["SERVING"]
            assert await statuses(names) == no_leader
            node.consensus.follow(node.consensus.other)
            assert await statuses(names) == ["SERVING"] * 5
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
            assert refused.value.code() is Code.NOT_FOUND
            await node.node.drain()
            assert await statuses(names) == ["NOT_SERVING"] * 5

    run(scenario)


def test_reflection_lists_the_services_and_unknown_methods_are_unimplemented(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            reflection = reflection_pb2_grpc.ServerReflectionStub(node.channel)
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            async for answer in reflection.ServerReflectionInfo(iter([request])):
                listed = {told.name for told in answer.list_services_response.service}
            assert set(SERVICES.values()) | {"grpc.health.v1.Health"} <= listed
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await node.channel.unary_unary("/statehouse.v2.StateService/Nothing")(b"")
            assert refused.value.code() is Code.UNIMPLEMENTED

    run(scenario)
