"""The model of the feeds (`support/feed_machine.py`) with the runs that Hypothesis chooses.

`make feed-model` takes many more, of its own choice.
"""

from __future__ import annotations

from hypothesis import settings

from support.feed_machine import Recovery, RecoveryInCluster

TestRecovery = Recovery.TestCase
TestRecovery.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRecoveryInCluster = RecoveryInCluster.TestCase
TestRecoveryInCluster.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
