"""Owns `statehousectl`: reads, writes, replays and administers a cluster through the SDK alone.

Nothing here is imported by the SDK. Commands import the client when they run, so that help and
usage errors come at once.
"""
