"""How a state came to be, answered from the dumb model by looking at all of it."""

from __future__ import annotations

import json

from statehouse.core.model import Expectation, Kind


def events(model, last, namespace=None, agent_id=None, start_ts=1, end_ts=None, **only):
    """(commit_ts, time, txn id, [(name, version, kind, value)]) of each event in scope.

    only: prefix, run_id, caused_by.
    """
    found = []
    prefix = only.get("prefix", "")
    for commit_ts, time_us, made in model.commits[:last]:
        if not start_ts <= commit_ts <= (last if end_ts is None else end_ts):
            continue
        if only.get("run_id") and not _of_run(model, commit_ts, namespace, only["run_id"]):
            continue
        if only.get("caused_by") and only["caused_by"] not in made.metadata.caused_by:
            continue
        operations = [
            (one.name, one.version, one.kind, one.value)
            for one in _in_scope(model, commit_ts, last, namespace, agent_id)
            if not prefix or (one.name[2].startswith(prefix) and one.name[1][:1] != "\x00")
        ]
        if operations or (namespace is None and not prefix):
            found.append((commit_ts, time_us, made.txn_id, operations))
    return found


def _of_run(model, commit_ts, namespace, run_id):
    touched = {one.name[0] for one in model.versions if one.commit_ts == commit_ts}
    return model.commits[commit_ts - 1][2].metadata.run_id == run_id and namespace in touched


def _in_scope(model, commit_ts, last, namespace, agent_id):
    if agent_id is not None:
        versions = model.agent(namespace, agent_id, commit_ts, last)
    else:
        versions = [
            one
            for one in model.versions
            if namespace is None or (one.name[0] == namespace and one.name[1][:1] != "\x00")
        ]
    return [one for one in versions if one.commit_ts == commit_ts]


def versions(model, name, start_ts, end_ts, last):
    """(record, writer, txn id, metadata) of each version in the range, the oldest first."""
    found = []
    for one in model.of(name, min(end_ts, last), last):
        if one.commit_ts >= start_ts:
            made = model.commits[one.commit_ts - 1][2]
            found.append((one.record(), one.name[1], made.txn_id, made.metadata))
    return found


def blame(model, namespace, agent_id, prefix, at, last):
    """Of each live key: its last version and that of each field, as (field, version, writer)."""
    told = []
    for record in model.scan(namespace, agent_id, prefix, at, last):
        set_by, fields = {}, {}
        for one in model.of((namespace, agent_id, record.key), at, last):
            before, fields = fields, _fields(one)
            for field in fields:
                if field not in before or before[field] != fields[field]:
                    set_by[field] = (one.version, one.name[1])
        told.append((record, [(field, *set_by[field]) for field in fields]))
    return told


def _fields(version):
    value = json.loads(version.value) if version.kind == Kind.JSON else None
    if not isinstance(value, dict):
        return {}
    return {field: json.dumps(part, sort_keys=True) for field, part in value.items()}


def explain(model, name, at, last):
    """{commit_ts: (distance, reads)} of all that led to the key, by trying every distance."""
    versions = model.of(name, at, last)
    found = {}
    here, distance = {one.commit_ts for one in versions[-1:]}, 0
    while here:
        beyond = set()
        for commit_ts in here:
            reads = _reads(model, commit_ts)
            found[commit_ts] = (distance, reads)
            beyond |= {read[4] for read in reads} | set(
                model.commits[commit_ts - 1][2].metadata.caused_by
            )
        here, distance = beyond - set(found) - {0}, distance + 1
    return found


def _reads(model, commit_ts):
    found = []
    for asked in model.commits[commit_ts - 1][2].preconditions:
        name = (asked.namespace, asked.agent_id, asked.key)
        if asked.expectation != Expectation.VERSION or "\x00" in (name[1][:1], name[2][:1]):
            continue
        made = [one for one in model.of(name, commit_ts - 1) if one.version == asked.number]
        found.append((*name, asked.number, made[0].commit_ts if made else 0))
    return found


def diff(model, namespace, one, a, other, b, prefix, last):
    """(key, record or None, record or None) of each key whose value differs."""
    here = {record.key: record for record in model.scan(namespace, one, prefix, a, last)}
    there = {record.key: record for record in model.scan(namespace, other, prefix, b, last)}
    return [
        (key, here.get(key), there.get(key))
        for key in sorted(here.keys() | there.keys(), key=str.encode)
        if _held(here.get(key)) != _held(there.get(key))
    ]


def _held(record):
    return None if record is None else (record.kind, record.value)
