"""Which process is at the other end of a connection to `server.relay`.

A worker says its process id, which anybody on the machine can say as well. Nothing secret introduces a
worker: existing ones know none. So the kernel is asked who holds the other end.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from rr_py_ws.address import parse_ip
from rr_py_ws.errors import WorkerDied

_PEER_CREDENTIALS = struct.Struct("iII")
"""`struct ucred` of unix(7): process, user, group."""
_MOST_ANCESTORS = 32
_INODE = 6
"""Place of the socket's inode in a line of /proc/net/tcp, behind the two addresses (proc(5))."""


class PeerUnknown(OSError):
    """The kernel does not tell who the peer is: without /proc, or when its process may not be looked at."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        pid: the process that connected a unix socket; None with TCP.
        address: of a TCP peer, with its port.
        own: the address that it is connected to.
    """

    pid: int | None = None
    address: tuple[str, int] = ("", 0)
    own: tuple[str, int] = ("", 0)

    @classmethod
    def of(cls, accepted: socket.SocketType) -> Peer:
        """Read what a socket knows of its peer.

        Raises:
            OSError: the connection is gone.
        """
        if accepted.family == socket.AF_UNIX:
            size = _PEER_CREDENTIALS.size
            found = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            return cls(pid=_PEER_CREDENTIALS.unpack(found)[0])
        return cls(address=accepted.getpeername()[:2], own=accepted.getsockname()[:2])

    def is_process(self, pid: int) -> bool:
        """Whether a process connected (unix), or holds the other end (TCP). Takes milliseconds with TCP.

        A TCP peer on another machine or in another network namespace is no process here.

        Raises:
            PeerUnknown: that cannot be found out.
        """
        if self.pid is not None:
            return self.pid == pid
        try:
            inode = self._inode()
            if not inode:
                return False
            directory = Path(f"/proc/{pid}/fd")
            return any(_target(descriptor) == f"socket:[{inode}]" for descriptor in directory.iterdir())
        except ProcessLookupError:  # it has just ended
            return False
        except OSError as error:
            raise PeerUnknown(f"{error.filename}: {error.strerror}") from error

    def _inode(self) -> int:
        """Look up the socket that is connected from there to here; 0 for none."""
        for table, mapped in (("tcp", False), ("tcp6", True)):
            path = Path("/proc/net", table)
            # An IPv4 peer is in either of them, by the family of its socket; IPv6 may be switched off.
            if mapped and not path.exists():
                return 0
            both = f" {_hexadecimal(self.address, mapped)} {_hexadecimal(self.own, mapped)} "
            _, found, rest = path.read_text("ascii").partition(both)
            if found:
                return int(rest.split(maxsplit=_INODE + 1)[_INODE])
        return 0


def _hexadecimal(address: tuple[str, int], mapped: bool) -> str:
    """Write an address as /proc/net/tcp does: 32-bit words in the order of this machine."""
    host = parse_ip(address[0].partition("%")[0])
    packed = host.packed
    if mapped and len(packed) == 4:
        packed = IPv6Address(f"::ffff:{host}").packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def find_worker(peer: Peer, said: int, expected: Container[int]) -> int:
    """Find out which of the processes that are expected a peer is.

    The process that the peer says it is must be one of them or a descendant, because a shell script may stand
    in between, and it must hold the other end of the connection.

    Args:
        peer: who connected.
        said: the process id in its reply to the handshake.
        expected: processes that this server has started, and that have not been reaped.

    Returns:
        The expected process.

    Raises:
        WorkerDied: the peer is somebody else.
        PeerUnknown: that cannot be found out.
    """
    for pid in _ancestry(said):
        if pid in expected:
            break
    else:
        raise WorkerDied(f"no worker with the process id {said} is expected")
    if not peer.is_process(said):
        raise WorkerDied(f"it says that it is process {said}, which does not hold the connection")
    return pid


def _ancestry(pid: int) -> Iterator[int]:
    """Yield a process, its parent, and so on; as far as they can be seen."""
    for _ in range(_MOST_ANCESTORS):
        if pid <= 1 or pid == os.getpid():
            return
        yield pid
        try:
            # The name of the program, in brackets, may hold anything.
            pid = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        except (OSError, IndexError):
            return
