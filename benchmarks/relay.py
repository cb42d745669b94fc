"""In the place of ssh: runs the server's command on this machine and counts what goes over the wire.

git calls it as `relay.py [-o OPTION]... HOST COMMAND`. One line of JSON a connection goes to the file that RELAY_LOG
names: the command, and the bytes sent up and down. The protocol version reaches the server in the environment, as with
an ssh server that accepts GIT_PROTOCOL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

PIECE = 1 << 20


def pump(source: int, sink: int) -> int:
    """Copy until the source ends; returns the number of bytes."""
    count = 0
    try:
        while piece := os.read(source, PIECE):
            count += len(piece)
            while piece:
                piece = piece[os.write(sink, piece) :]
    except BrokenPipeError:
        pass  # the other side has what it wanted
    return count


def main(argv: list[str]) -> int:
    """Serve one connection; returns the exit status of the server's command."""
    while argv[0] == "-o":
        argv = argv[2:]
    command = argv[1]
    server = subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin
    assert server.stdout
    up = 0

    def upward() -> None:
        nonlocal up
        assert server.stdin
        up = pump(0, server.stdin.fileno())
        server.stdin.close()

    thread = threading.Thread(target=upward, daemon=True)
    thread.start()
    down = pump(server.stdout.fileno(), 1)
    status = server.wait()
    os.close(1)
    thread.join()
    with Path(os.environ["RELAY_LOG"]).open("a") as log:
        log.write(json.dumps({"command": command, "up": up, "down": down}) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
