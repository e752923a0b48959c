"""Owns how long the nodes of a cluster wait for each other, and which combinations make sense.

Safety never depends on these: a wrong choice costs elections or patience, not data.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds, all of them.

    The defaults suit three nodes that share two busy cores: a follower must miss ten heartbeats
    before it campaigns, while a leader whose process died is noticed at once by its closed links.
    """

    heartbeat_s: float = 0.1
    """A leader with nothing to send still sends this often."""
    commit_notice_s: float = 0.01
    """A leader with nothing to send tells its followers of a commit after so long."""
    election_min_s: float = 1.0
    """The least silence after which a follower may campaign; also how long a leader counts as
    fresh."""
    election_max_s: float = 1.6
    """The most; each wait is drawn between the two."""
    hasten_max_s: float = 0.3
    """When the leader's link is closed by its end, the wait is redrawn between 0.05 and this."""
    prevote_retry_s: float = 0.1
    """A node that may campaign asks its peers again this often."""
    leader_fallback_s: float = 2.0
    """A leader that hears from no majority for so long steps down."""
    transfer_s: float = 2.0
    """A leadership transfer not done by then is given up."""
    poll_s: float = 0.02
    """The longest the raft thread sleeps."""
    status_s: float = 0.05
    """How old a published status may be while only indexes move."""
    learner_silence_s: float = 30.0
    """A joining node that makes no progress for so long is given up."""

    def __post_init__(self) -> None:
        if not 0 < self.poll_s <= self.heartbeat_s:
            raise ValueError("poll_s must be positive and not above heartbeat_s")
        if not 0 <= self.commit_notice_s <= self.heartbeat_s:
            raise ValueError("commit_notice_s must not be negative, nor above heartbeat_s")
        if not 4 * self.heartbeat_s <= self.election_min_s < self.election_max_s:
            raise ValueError(
                "election_min_s must be at least 4 heartbeats and below election_max_s"
            )
        if self.leader_fallback_s < self.election_min_s:
            raise ValueError("leader_fallback_s must not be below election_min_s")
