"""Owns what grpc.health.v1 tells: for each service, whether a call to it would be answered now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc_health.v1 import health, health_pb2
from statehouse_proto.services import CLUSTER_SERVICE, HISTORY_SERVICE, STATE_SERVICE, V1_SERVICE

from statehouse import lifecycle

if TYPE_CHECKING:
    from statehouse.rpc.backend import Backend

REFRESH_INTERVAL_S = 0.05

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def serving(backend: Backend) -> dict[str, bool]:
    """Each name that health knows, "" for the node as a whole, and whether it can answer."""
    phase = backend.status().phase
    answers = lifecycle.can_answer(phase, leader_known=backend.leader() is not None)
    return {
        "": answers,
        V1_SERVICE: answers,
        STATE_SERVICE: answers,
        HISTORY_SERVICE: answers,
        CLUSTER_SERVICE: lifecycle.can_tell_status(phase),
    }


class Health:
    """Keeps the standard health servicer up to date."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._told: dict[str, bool] = {}
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # stubs lack it

    async def refresh(self) -> None:
        """Tells what changed since the last time."""
        for service, answers in serving(self._backend).items():
            if self._told.get(service) is not answers:
                self._told[service] = answers
                await self.servicer.set(service, _SERVING if answers else _NOT_SERVING)

    async def keep(self) -> None:
        """Refreshes until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_INTERVAL_S)
