"""What following a channel costs: `python -m benchmarks.agent`, on this machine, with real git and ssh keys.

in place      from the end of the push that moves the channel until `current` leads to the new release; a running
              agent with an interval of one second, a model of 2 MiB of which one layer changed
own work      the same without waiting for the poll and without the warm-up's child
by hand       back to the release before, without network
idle          memory of an agent with five models, and processor time of one poll
10,000 tags   one poll of a repository that has them
large         with `--large` alone, since it takes minutes and 8 GiB of disk: bytes that are fetched of a model of 1 GiB
              of which a hundredth changed, in one place and in as many as it has tensors, as shares of the model
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from git_lepton.agent.events import Fetched, Swapped
from tests.agent.world import World, new_world
from tests.support import clean_environment, git, model_bytes, weights

ROUNDS = 7
TAGS = 10_000
PATIENCE = 60.0
"""Seconds for one release."""
TENSORS = 128
ROWS = 65_536
"""Of 64 bfloat16 each: 8 MiB a tensor, 1 GiB together."""


def release(number: int) -> dict[str, bytes]:
    return {
        "model.safetensors": model_bytes(1, layers=8, rows=1024, layer_3=100 + number),
        "tokenizer.json": json.dumps({"v": number}).encode(),
    }


def start_agent(world: World, *models: str) -> subprocess.Popen[bytes]:
    config = world.top / "agent.toml"
    config.write_bytes(world.settings(models=models))
    return subprocess.Popen([sys.executable, "-m", "git_lepton", "agent", "run", "-c", config])


def wait_for(path: Path, content: bytes) -> float:
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        try:
            if path.read_bytes() == content:
                return time.perf_counter()
        except OSError:
            pass
        time.sleep(0.002)
    raise TimeoutError(f"{path} did not change: what does the agent say?")


def in_place(world: World) -> list[float]:
    taken = []
    tokenizer = world.top / "srv" / "digits" / "current" / "tokenizer.json"
    with start_agent(world, "digits") as agent:
        for number in range(ROUNDS + 1):
            files = release(number)
            world.move(world.commit(files), f"1.{number}.0")
            began = time.perf_counter()
            taken.append(wait_for(tokenizer, files["tokenizer.json"]) - began)
        agent.terminate()
    return taken[1:]


def own_work(world: World) -> tuple[list[float], list[float]]:
    engine, seen = world.engine(extra="warmup = { enabled = false }")
    back = []
    for number in range(20, 20 + ROUNDS + 1):
        world.move(world.commit(release(number)), f"1.{number}.0")
        engine.poll()
    for _ in range(2):
        began = time.perf_counter()
        engine.follower("digits").rollback()
        back.append(time.perf_counter() - began)
    engine.close()
    forward = [e.seconds for e in seen.events if isinstance(e, Swapped) and e.trigger == "promote"]
    return forward[1:], back


def idle(world: World) -> tuple[float, float]:
    names = tuple("abcde")
    for name in names:
        world.move(world.commit(release(1), model=name), "1.0.0")
    with start_agent(world, *names) as agent:
        for name in names:
            wait_for(world.top / "srv" / name / "current" / "tokenizer.json", release(1)["tokenizer.json"])
        time.sleep(2)
        before = cpu_of(agent.pid)
        time.sleep(5)
        used = cpu_of(agent.pid) - before
        status = Path(f"/proc/{agent.pid}/status").read_text()
        agent.terminate()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return resident / 1024, used / 5


def cpu_of(pid: int) -> float:
    """Seconds of processor time of a process and of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def many_tags(world: World) -> list[float]:
    oid = git(world.remote, "rev-parse", "main")
    lines = "".join(f"create refs/tags/other@v1.{n}.0 {oid}\n" for n in range(TAGS))
    git(world.remote, "update-ref", "--stdin", data=lines.encode())
    engine, _ = world.engine()
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        engine.poll()
        taken.append(time.perf_counter() - began)
    engine.close()
    return taken


def large(world: World) -> list[tuple[str, float, float, float]]:
    """Where a hundredth of a model of 1 GiB changed: which share of it is fetched, and stored; seconds until then."""
    model = bytearray(model_bytes(1, layers=TENSORS, rows=ROWS, dtype="BF16"))
    engine, seen = world.engine()
    found = []
    for number, places in enumerate((0, 1, TENSORS)):
        for place in range(places):
            piece = weights(place, len(model) // places // 200, "BF16")  # two bytes each
            at = len(model) * place // places + (1 << 20)
            model[at : at + len(piece)] = piece
        world.move(world.commit({"model.safetensors": bytes(model)}), f"1.{number}.0")
        before = held(world)
        engine.poll()
        (fetched,) = (e.bytes for e in seen.events if isinstance(e, Fetched))
        (swapped,) = (e.seconds for e in seen.events if isinstance(e, Swapped))
        found.append((f"{places} places", fetched / len(model), (held(world) - before) / len(model), swapped))
        seen.events.clear()
    engine.close()
    return found


def held(world: World) -> int:
    """Bytes of the mirror's packs."""
    return sum(path.stat().st_size for path in (world.top / "state" / "mirror.git" / "objects").rglob("*.pack"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What following a channel costs.")
    parser.add_argument("--large", action="store_true", help="only the model of 1 GiB")
    only_large = parser.parse_args().large
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "home").mkdir()
        os.environ.update(clean_environment(top / "home"))
        world = new_world(top)
        if only_large:
            for what, fetched, stored, seconds in large(world):
                print(f"large        {what}: {fetched:.2%} fetched, {stored:.2%} more in the mirror, {seconds:.0f} s")
            return
        took = in_place(world)
        print(f"in place     median {statistics.median(took):.2f} s, worst {max(took):.2f} s")
        forward, back = own_work(world)
        print(f"own work     median {statistics.median(forward):.3f} s, worst {max(forward):.3f} s")
        print(f"by hand      {max(back) * 1000:.0f} ms")
        resident, share = idle(world)
        print(f"idle         {resident:.0f} MiB, {share * 100:.1f} % of a core at one poll a second")
        polls = many_tags(world)
        print(f"10,000 tags  {statistics.median(polls[1:]) * 1000:.0f} ms a poll")


if __name__ == "__main__":
    main()
