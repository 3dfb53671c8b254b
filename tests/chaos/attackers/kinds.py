"""Every kind of attacker, by name."""

from __future__ import annotations

from typing import NamedTuple

from chaos.attackers.bodies import BODIES
from chaos.attackers.clients import CLIENTS
from chaos.attackers.commands import COMMANDS, bursting, dripping, refused_joins, sending
from chaos.attackers.connection import Attack, head
from chaos.attackers.frames import FRAMES
from chaos.attackers.gulps import gulps, gulps_in_many_topics
from chaos.attackers.handshakes import HANDSHAKES, cookies, hitting, noisy_worker, unread_refusals
from chaos.attackers.histories import HISTORIES
from chaos.attackers.pages import PAGES, dying_workers, probing, tiny_frames, verdicts
from chaos.attackers.publishers import PUBLISHERS, calling, dear_methods
from chaos.attackers.requests import REQUESTS


class Kind(NamedTuple):
    """A kind of attacker, and what the server must be like for its attack to mean something.

    Attributes:
        attack: what it does.
        workers: whether it is about what PHP workers do.
        stuck_log: whether nobody reads the server's log meanwhile.
        pages: whether it needs pages, files or monitoring of `site`.
    """

    attack: Attack
    workers: bool = False
    stuck_log: bool = False
    pages: bool = False


KINDS: dict[str, Kind] = {
    **{name: Kind(sending(*what)) for name, what in COMMANDS.items()},
    **{f"{name}-deflated": Kind(sending(*what, deflated=True)) for name, what in COMMANDS.items()},
    "bombs": Kind(dripping(refused_joins, 2400)),
    "bomb-bursts": Kind(bursting(refused_joins)),
    **{name: Kind(attack) for name, attack in (CLIENTS | FRAMES | PUBLISHERS).items()},
    "rpc-dear-methods": Kind(calling(dear_methods), workers=True),
    "gulps": Kind(gulps),
    "gulps-in-many-topics": Kind(gulps_in_many_topics),
    **{name: Kind(attack) for name, attack in HANDSHAKES.items()},
    "cookies": Kind(hitting(cookies()), workers=True),
    "unread-refusals": Kind(unread_refusals, workers=True),
    "noisy-worker": Kind(noisy_worker, workers=True),
    **{name: Kind(attack, workers=True, pages=True) for name, attack in PAGES.items()},
    "monitoring": Kind(probing, pages=True),
    "many-tiny-frames": Kind(tiny_frames),
    "dying-workers": Kind(dying_workers, workers=True, pages=True),
    "verdicts": Kind(verdicts, workers=True),
    **{name: Kind(attack) for name, attack in (BODIES | HISTORIES | REQUESTS).items()},
    "stuck-log": Kind(hitting(head()), stuck_log=True),
}

HERE = [name for name, kind in KINDS.items() if not kind.stuck_log]
"""Kinds that a server of `site` can have beside it."""

ANYWHERE = [name for name in HERE if not KINDS[name].pages]
"""Kinds that any server with `workers/attacked.php` can have beside it."""
