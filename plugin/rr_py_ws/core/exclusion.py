"""Who does not get which messages of a turn of the hub.

Nearly everybody in a topic gets the same, also when each message leaves out its own sender. So those who are
left out of something are written to on their own, and all others together, as if nobody was left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from rr_py_ws.core.ports import Subscriber
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import Encoding

Group = list[Subscriber] | dict[Subscriber, None]
"""The subscribers of one topic that share an encoding: a list of one, or an ordered set.

Most topics have one subscriber, for whom a dict would take 150 bytes more. A group that has become a set
stays one.
"""
Turn = list[tuple[Group, str, bytes]]
"""What is to be written to the subscribers of one encoding: receivers, topic and frame of each message."""


def is_excluded(subscriber: Subscriber, publication: Publication) -> bool:
    """Whether a subscriber is one that does not get a publication."""
    return subscriber.id in publication.exclude or subscriber.me in publication.exclude


class Exclusions:
    """Those of one turn.

    The members of a group are looked through once, whatever is published to it in the turn. A turn ends
    before somebody enters or leaves one of its groups.
    """

    __slots__ = ("_left_out", "_named")

    def __init__(self) -> None:
        self._left_out: dict[Encoding, dict[Subscriber, set[int]]] = {}
        # By the identity of a group: the turn holds the groups, so each stays the only one that has it.
        self._named: dict[int, dict[str, list[Subscriber]]] = {}

    def add(self, encoding: Encoding, turn: Turn, group: Group, names: Iterable[str]) -> None:
        """Leave the members of a group with one of these names out of the message that the turn gets next."""
        named = self._named.get(id(group))
        if named is None:
            named = self._named[id(group)] = _by_name(group)
        for name in names:
            for member in named.get(name, ()):
                self._left_out.setdefault(encoding, {}).setdefault(member, set()).add(len(turn))

    def split(self, encoding: Encoding, turn: Turn) -> list[Turn]:
        """Return one turn for each who is left out of something, and one for all others."""
        left_out = self._left_out.get(encoding)
        if left_out is None:
            return [turn]
        groups = {id(group): group for group, _, _ in turn}
        turns = [_own_turn(subscriber, groups, places, turn) for subscriber, places in left_out.items()]
        others: dict[int, Group] = {
            number: {member: None for member in group if member not in left_out}
            for number, group in groups.items()
        }
        return [*turns, [(others[id(group)], topic, frame) for group, topic, frame in turn]]


def _by_name(group: Group) -> dict[str, list[Subscriber]]:
    named: dict[str, list[Subscriber]] = {}
    for member in group:
        for name in {member.id, member.me}:
            named.setdefault(name, []).append(member)
    return named


def _own_turn(subscriber: Subscriber, groups: dict[int, Group], left_out: set[int], turn: Turn) -> Turn:
    own: dict[int, Group] = {
        number: {subscriber: None} for number, group in groups.items() if subscriber in group
    }
    return [
        (own[id(group)], topic, frame)
        for place, (group, topic, frame) in enumerate(turn)
        if id(group) in own and place not in left_out
    ]
