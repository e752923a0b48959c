"""Wire messages and services, built at import from a shipped descriptor set.

Plain protoc output refuses protobuf runtimes older than its compiler. A descriptor set does not,
so one wheel works under protobuf 5.29, 6 and 7. ``scripts/generate_proto.py`` makes
``descriptors.binpb`` and the ``*_pb2.pyi`` stubs from the ``.proto`` files; the ``*_pb2.py``
modules only name their file.
"""
