"""Consensus for Statehouse: one agreed log over pysyncobj, made sound from outside.

Knows nothing of keys, values or gRPC. `consensus.Consensus` is the public class; `interfaces` says
what it asks of its state machine and tells its owner.
"""
