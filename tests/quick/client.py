"""What the `git-lepton` of the tests runs: asks the server of tests/quick/server.py to be that program; see there.

It runs with `python -I -S` and must start fast: it imports nothing that is not built in.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import os
import sys


def main(path: str, *arguments: str) -> None:
    """Be the program: same arguments, environment, folder and standard streams, signals, and exit status."""
    environment = [name + b"=" + value for name, value in os.environb.items()]
    body = b"\0".join([str(len(arguments)).encode(), *map(os.fsencode, arguments), *environment])
    descriptors = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2, os.open(".", os.O_RDONLY)))
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    server.connect(path)
    server.sendmsg([len(body).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
    server.sendall(body)
    for number in (_signal.SIGINT, _signal.SIGTERM):
        _signal.signal(number, lambda number, _: server.sendall(bytes([number])))
    answer = server.recv(4)
    status = int.from_bytes(answer, "big", signed=True) if answer else 70
    if status < 0:
        _signal.signal(-status, _signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


main(*sys.argv[1:])
