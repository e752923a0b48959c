"""The Python client of Statehouse; everything public is named here."""

from __future__ import annotations

from statehouse_sdk.async_client import AsyncStatehouse
from statehouse_sdk.async_transaction import AsyncTransaction
from statehouse_sdk.client import Statehouse
from statehouse_sdk.cluster_models import AddProgress, Leader, Member, NodeStatus
from statehouse_sdk.errors import (
    Conflict,
    ConflictError,
    ConnectionError,
    DeadlineExceededError,
    FuturePointError,
    InvalidRequestError,
    InvalidValueError,
    MembershipError,
    NoLeaderError,
    NotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    ServerError,
    StatehouseError,
    StorageFullError,
    TooLargeError,
    TransactionAbortedError,
    TransactionError,
    TransactionExpiredError,
    TransactionFinishedError,
    UnavailableError,
)
from statehouse_sdk.models import Metadata, Operation, ReplayEvent, Snapshot, StateResult
from statehouse_sdk.transaction import Transaction

__all__ = [
    "AddProgress",
    "AsyncStatehouse",
    "AsyncTransaction",
    "Conflict",
    "ConflictError",
    "ConnectionError",
    "DeadlineExceededError",
    "FuturePointError",
    "InvalidRequestError",
    "InvalidValueError",
    "Leader",
    "Member",
    "MembershipError",
    "Metadata",
    "NoLeaderError",
    "NodeStatus",
    "NotFoundError",
    "Operation",
    "OutcomeUnknownError",
    "OverloadedError",
    "PermissionDeniedError",
    "ProtocolError",
    "ReplayEvent",
    "ServerError",
    "Snapshot",
    "StateResult",
    "Statehouse",
    "StatehouseError",
    "StorageFullError",
    "TooLargeError",
    "Transaction",
    "TransactionAbortedError",
    "TransactionError",
    "TransactionExpiredError",
    "TransactionFinishedError",
    "UnavailableError",
]
