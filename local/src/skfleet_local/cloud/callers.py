"""Who may call the emulators' TCP listeners: programs of the fleet's own user, and no web page.

Loopback is open to every user of the machine, but the kernel knows whose socket a connection comes from.
Where a listener is not on loopback (systemd hosts), callers are in other network namespaces: there the
bridge, which root alone can join, is the boundary.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
import weakref
from asyncio import BaseTransport

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8


def own_user_only() -> Middleware:
    """Refuse other users' connections and what a browser sends for a page, with 403."""
    own: weakref.WeakSet[BaseTransport] = weakref.WeakSet()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            return _refusal("the connection is gone")
        if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
            return _refusal("a web page sent it")
        listener = transport.get_extra_info("sockname")[:2]
        if ipaddress.ip_address(listener[0]).is_loopback:
            if not _is_address(request.host):
                return _refusal(f"'{request.host}' is not an address of this fleet")
            if transport not in own and not _is_own(transport, listener):
                return _refusal("the caller is not the user whose fleet this is")
            own.add(transport)
        return await handler(request)

    return middleware


def _refusal(reason: str) -> web.Response:
    answer = web.Response(text=f"Request refused because {reason}.\n", status=403)
    answer.force_close()
    return answer


def _is_address(host: str) -> bool:
    """Whether a Host header is an IP address: a name could be a page's own (DNS rebinding)."""
    try:
        ipaddress.ip_address(host.rpartition(":")[0] or host)
    except ValueError:
        return False
    return True


def _is_own(transport: BaseTransport, listener: tuple[str, int]) -> bool:
    caller = transport.get_extra_info("peername")  # None where the connection was reset at once
    return caller is not None and _user_of(caller[:2], listener) == os.getuid()


def _user_of(end: tuple[str, int], peer: tuple[str, int]) -> int | None:
    """Whose socket one end of a TCP connection is; None where nobody holds it any more.

    Asked of the kernel by sock_diag(7): the same in /proc/net/tcp takes 20 ms to read and may lack a row.
    Raises OSError where the kernel does not have it (CONFIG_INET_DIAG).
    """
    ends = struct.pack(
        "!HH16s16s", end[1], peer[1], socket.inet_aton(end[0]), socket.inet_aton(peer[0])
    )
    question = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL_STATES) + ends
    question += struct.pack("=I8s", 0, _NO_COOKIE)
    header = struct.pack("=IHHII", 16 + len(question), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.send(header + question)
        answer = kernel.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind == _NLMSG_ERROR:
        error = -struct.unpack_from("=i", answer, 16)[0]
        if error == errno.ENOENT:
            return None
        raise OSError(error, os.strerror(error))
    # struct inet_diag_msg: 4 bytes, the ends, which may be a listener's, and at last user and inode.
    user, inode = struct.unpack_from("=II", answer, 16 + 4 + 48 + 12)
    # A socket that its process has closed is shown as root's, without an inode.
    return user if inode and answer[20 : 20 + len(ends)] == ends else None
