"""Accounts of the system: looked up once, before the event loop runs, see `server.preparation`."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@cache  # a directory service may take its time
def find_account(name: str) -> pwd.struct_passwd | None:
    """Return an account; None when there is none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


@contextmanager
def acting_as(account: pwd.struct_passwd) -> Iterator[None]:
    """Have the rights of an account, as a process that is started with it has them; takes root.

    All threads of the process have them meanwhile, so this is for a start only.
    """
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)
