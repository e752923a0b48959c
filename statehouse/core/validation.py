"""Owns what may enter the log: names, values, numbers and sizes, checked before a proposal.

Every check raises `errors.Failure` naming the field and, where one is exceeded, the limit. What is
checked here is not checked again by the engine, but for `shape_fault`: what the state itself
could not bear.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from statehouse.core import codec, limits, marks
from statehouse.core.errors import Failure, LimitExceeded, Reason
from statehouse.core.model import (
    Expectation,
    Kind,
    Metadata,
    Operation,
    Precondition,
    Submission,
    Transaction,
)

CLIENT_ID_BYTES = 16
_NO_METADATA = Metadata()
_U63_MAX = 2**63 - 1
_TOMBSTONE, _JSON, _BYTES = Kind.TOMBSTONE.value, Kind.JSON.value, Kind.BYTES.value
_KINDS = frozenset(kind.value for kind in Kind)
_EXPECTATIONS = frozenset(expectation.value for expectation in Expectation)
_ordinary = re.compile(r"[ -~]{1,256}").fullmatch
# The names of a key with a line's end after each, which no ordinary name holds: one look for three.
_ordinary_key = re.compile(r"(?:[ -~]{1,256}\n){3}").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Possessive, with an optional end, so that no text makes it look twice at the same byte.
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)


def check_namespace(namespace: str, field: str = "namespace") -> None:
    """A namespace: not empty, short enough, printable."""
    _check_name(namespace, field)


def check_name(name: str, field: str) -> None:
    """A name of any other thing, by the same rules."""
    _check_name(name, field)


def check_names(namespace: str, agent_id: str, key: str) -> None:
    """The three names of one key."""
    _check_key(namespace, agent_id, key, "")


def check_scope(namespace: str, agent_id: str, prefix: str) -> None:
    """The names of a scan; the prefix of keys may be empty."""
    _check_name(namespace, "namespace")
    _check_name(agent_id, "agent_id")
    if prefix:
        _check_name(prefix, "prefix")


def check_transaction(transaction: Transaction, marked: frozenset[int] = frozenset()) -> bytes:
    """Everything of a transaction, its op id included; returns its canonical bytes.

    marked: the places of operations that were asked for as marks; what else is named like one is
    refused.
    """
    _check_op_id(transaction)
    if transaction.txn_id:
        _check_name(transaction.txn_id, "txn_id")
    count = len(transaction.operations)
    if count > limits.TRANSACTION_OPERATIONS_MAX:
        raise _too_large("the number of operations", "transaction_operations_max", count)
    count = len(transaction.preconditions)
    if count > limits.TRANSACTION_PRECONDITIONS_MAX:
        raise _too_large("the number of preconditions", "transaction_preconditions_max", count)
    for number, operation in enumerate(transaction.operations):
        if number in marked:
            _check_mark(operation, _place("operations", number))
        else:
            check_operation(operation, _place("operations", number))
    if transaction.preconditions:
        _check_preconditions(transaction, marked)
    fault = marks.fault_of(transaction) if marked else None
    if fault is not None:
        raise _invalid(fault)
    check_metadata(transaction.metadata)
    encoded = codec.encode_transaction(transaction)
    if len(encoded) > limits.TRANSACTION_BYTES_MAX:
        raise _too_large("the transaction", "transaction_bytes_max", len(encoded))
    return encoded


def _check_preconditions(transaction: Transaction, marked: frozenset[int]) -> None:
    of_marks = {_names(transaction.operations[number]) for number in marked}
    for number, precondition in enumerate(transaction.preconditions):
        of_mark = bool(of_marks) and _names(precondition) in of_marks
        _check_precondition(precondition, _place("preconditions", number), of_mark)


def check_operation(operation: Operation, field: str = "") -> None:
    """One write or delete; `field` is where it stands, ended by a dot."""
    _check_key(operation.namespace, operation.agent_id, operation.key, field)
    kind, value = operation.kind, operation.value
    # Raw bytes may be anything: most often there is nothing to name a field for.
    if kind != _BYTES or len(value) > limits.VALUE_BYTES_MAX:
        check_value(kind, value, f"{field}value")


def check_value(kind: int, value: bytes, field: str = "value") -> None:
    """A value of its kind: its size, and that JSON is JSON."""
    if kind not in _KINDS:
        raise _invalid(f"{field} has kind {kind}; it must be one of {sorted(_KINDS)}")
    if len(value) > limits.VALUE_BYTES_MAX:
        raise _too_large(field, "value_bytes_max", len(value))
    if kind == _TOMBSTONE:
        if value:
            raise _invalid(f"{field} has {len(value)} bytes, but the operation deletes")
    elif kind == _JSON:
        _check_json(value, field)


def check_metadata(metadata: Metadata) -> None:
    """Who, why and what led to it: the sizes, and numbers that can be a commit_ts."""
    if metadata == _NO_METADATA:
        return
    texts = [metadata.actor, metadata.reason, metadata.run_id, metadata.tool_call_id]
    for name, text in metadata.extra:
        texts += (name, text)
    total_bytes = sum([_text_bytes(text, "metadata") for text in texts])
    if total_bytes > limits.METADATA_BYTES_MAX:
        raise _too_large("metadata", "metadata_bytes_max", total_bytes)
    names = [name for name, _ in metadata.extra]
    if names != sorted(set(names)):
        raise _invalid("metadata.extra must be sorted by name, each name once")
    if len(metadata.caused_by) > limits.METADATA_CAUSES_MAX:
        raise _too_large(
            "the number of metadata.caused_by", "metadata_causes_max", len(metadata.caused_by)
        )
    for number, commit_ts in enumerate(metadata.caused_by):
        _check_number(commit_ts, 1, f"metadata.caused_by[{number}]")


def shape_fault(submission: Submission, transaction: Transaction, *, marked: bool) -> str | None:
    """What the engine cannot take, whoever let it pass; None when there is nothing.

    marked: whether there are marks among the operations.
    """
    if len(transaction.client_id) != CLIENT_ID_BYTES:
        return f"the client id has {len(transaction.client_id)} bytes, not {CLIENT_ID_BYTES}"
    if not 1 <= transaction.sequence <= _U63_MAX:
        return f"sequence {transaction.sequence} is not between 1 and {_U63_MAX}"
    if submission.acknowledged_through >= transaction.sequence:
        return (
            f"acknowledged_through {submission.acknowledged_through} covers the transaction's own "
            f"sequence {transaction.sequence}"
        )
    for operation in transaction.operations:
        if operation.kind not in _KINDS:
            return f"an operation on key {operation.key!r} has the unknown kind {operation.kind}"
    if marked:
        fault = marks.fault_of(transaction)
        if fault is not None:
            return fault
    causes = transaction.metadata.caused_by
    if causes and min(causes) < 1:
        return f"metadata.caused_by names {min(causes)}, which is no commit"
    for precondition in transaction.preconditions:
        if precondition.expectation not in _EXPECTATIONS:
            return f"a precondition has the unknown expectation {precondition.expectation}"
    return None


def _check_op_id(transaction: Transaction) -> None:
    if len(transaction.client_id) != CLIENT_ID_BYTES:
        raise _invalid(
            f"op_id.client_id has {len(transaction.client_id)} bytes; it must have "
            f"{CLIENT_ID_BYTES}, random"
        )
    _check_number(transaction.sequence, 1, "op_id.sequence")


def _check_mark(operation: Operation, field: str) -> None:
    """What must hold of a mark's own names; its form is checked with the transaction's."""
    _check_name(operation.namespace, field, "namespace")
    try:
        mark = marks.mark_of(operation.agent_id, operation.key, operation.kind, operation.value)
    except ValueError as error:
        raise _invalid(f"{field}mark: {error}") from None
    if not isinstance(mark, marks.Cursor):
        _check_name(operation.agent_id, field, "agent_id")
    if isinstance(mark, marks.Fork):
        _check_name(mark.parent_id, field, "mark.fork.parent_id")
    elif isinstance(mark, marks.Label):
        _check_name(mark.name, field, "mark.label.name")
    else:
        _check_name(mark.name, field, "mark.cursor.name")
        if mark.agent_id:
            _check_name(mark.agent_id, field, "mark.cursor.agent_id")
        if mark.prefix:
            _check_name(mark.prefix, field, "mark.cursor.prefix")


def _names(one: Operation | Precondition) -> tuple[str, str, str]:
    return one.namespace, one.agent_id, one.key


def _check_precondition(precondition: Precondition, field: str, of_mark: bool) -> None:
    if not of_mark:
        _check_key(precondition.namespace, precondition.agent_id, precondition.key, field)
    if precondition.expectation not in _EXPECTATIONS:
        raise _invalid(f"{field}expectation {precondition.expectation} is unknown")
    _check_number(precondition.number, 0, f"{field}number")


@lru_cache(maxsize=256)
def _place(what: str, number: int) -> str:
    """Where the fields of one of them stand, should a fault have to name it."""
    return f"{what}[{number}]."


def _check_key(namespace: str, agent_id: str, key: str, where: str) -> None:
    if _ordinary_key(f"{namespace}\n{agent_id}\n{key}\n"):
        return
    _check_name(namespace, where, "namespace")
    _check_name(agent_id, where, "agent_id")
    _check_name(key, where, "key")


def _check_name(name: str, where: str, field: str = "") -> None:
    if _ordinary(name):
        return
    if not name:
        raise _invalid(f"{where}{field} is empty; give a name")
    size_bytes = _text_bytes(name, where + field)
    if size_bytes > limits.NAME_BYTES_MAX:
        raise _too_large(where + field, "name_bytes_max", size_bytes)
    found = _CONTROL.search(name)
    if found is not None:
        raise _invalid(
            f"{where}{field} holds the control character {found.group()!r}; leave it out"
        )


def _text_bytes(text: str, field: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise _invalid(f"{field} holds a lone surrogate, which is no character") from None


def _check_json(value: bytes, field: str) -> None:
    # Only a text with more brackets than the limit can nest deeper than it.
    if value.count(b"[") + value.count(b"{") > limits.JSON_DEPTH_MAX:
        depth = _json_depth(value)
        if depth > limits.JSON_DEPTH_MAX:
            raise _too_large(f"{field}'s nesting", "json_depth_max", depth)
    try:
        msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _invalid(f"{field} is not JSON: {error}") from None


def _json_depth(value: bytes) -> int:
    depth = deepest = 0
    for found in _NESTING.finditer(value):
        if found.group(1):
            depth += 1
            deepest = max(deepest, depth)
        elif found.group(2):
            depth -= 1
    return deepest


def _check_number(number: int, least: int, field: str) -> None:
    if not least <= number <= _U63_MAX:
        raise _invalid(f"{field} is {number}; it must lie between {least} and {_U63_MAX}")


def _invalid(message: str) -> Failure:
    return Failure(Reason.INVALID_ARGUMENT, message)


def _too_large(what: str, limit: str, actual: int) -> Failure:
    maximum: int = getattr(limits, limit.upper())
    return Failure(
        Reason.TOO_LARGE,
        f"{what} is {actual}, above {limit} = {maximum}; make it smaller or split it",
        limit=LimitExceeded(limit, maximum, actual),
    )
