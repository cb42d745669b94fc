"""An agent works with the packages of examples/deploy/agent-requirements.txt and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import urllib.request
import venv
from importlib import metadata
from pathlib import Path

import pytest

from git_lepton import __version__
from tests.agent.test_monitoring import eventually, free_port, running
from tests.agent.world import World, files

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "examples" / "deploy" / "agent-requirements.txt"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def listed() -> list[str]:
    return [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]


def closure(names: list[str]) -> set[str]:
    """The distributions of these names and all that they ask for, of those that are installed here."""
    found: set[str] = set()
    while names:
        name = names.pop()
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            names += [match[0] for text in wanted if "extra ==" not in text and (match := _NAME.match(text))]
    return found


def bare_environment(folder: Path, names: list[str]) -> Path:
    """A virtual environment with these distributions and git-lepton, by links; its Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "git_lepton").symlink_to(ROOT / "git_lepton")
    for name in closure(names):
        for top in {file.parts[0] for file in metadata.files(name) or () if file.parts[0] != ".."}:
            held = Path(str(metadata.distribution(name).locate_file(top)))
            if held.exists() and not (site / top).exists():
                (site / top).symlink_to(held)
    return folder / "bin" / "python"


def test_the_floors_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(listed()) <= set(project["dependencies"])


def onnx_bytes(weight: float) -> bytes:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    constant = helper.make_tensor("w", TensorProto.FLOAT, [1], [weight])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "g", [value], [result], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def test_an_agent_runs_with_these_packages_alone(world: World, env: dict[str, str]) -> None:
    python = bare_environment(world.top / "venv", [_NAME.match(line)[0] for line in listed()])  # type: ignore[index]
    check = "import importlib.util as u; print([m for m in ('onnx','pygit2','sklearn','rich') if u.find_spec(m)])"
    done = subprocess.run([python, "-c", check], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    world.release(1, "1.0.0")
    world.move(world.commit({"m.onnx": onnx_bytes(2.0)}, model="scale", main="m.onnx"), "1.0.0")
    port = free_port()
    config = world.top / "agent.toml"
    web = f'[http]\nlisten = "127.0.0.1:{port}"'
    config.write_bytes(world.settings(models=("digits", "scale"), top=web))
    url = f"http://127.0.0.1:{port}"
    with running(python, "-m", "git_lepton", "agent", "run", "-c", config, log=world.top / "agent.log"):

        def is_ready() -> bool:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)

        eventually(is_ready, "both models are ready")
        assert world.tokenizer() == files(1)["tokenizer.json"]
        assert (world.served("scale") / "m.onnx").read_bytes() == onnx_bytes(2.0)
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
            assert f'version="{__version__}"' in answer.read().decode()
        ask = [str(python), "-m", "git_lepton", "agent", "status", "--json", "-c", str(config)]
        told = subprocess.run(ask, env=env, capture_output=True, text=True, check=True)
        assert all(model["ready"] for model in json.loads(told.stdout)["models"])


@pytest.mark.slow
@pytest.mark.network
def test_pip_installs_an_agent_from_these_packages(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
    done = subprocess.run([python, "-m", "git_lepton", "agent", "run", "--help"], capture_output=True, check=True)
    assert b"Follow channels" in done.stdout
    used = subprocess.run(["du", "-sm", tmp_path / "venv"], capture_output=True, text=True, check=True)
    print(f"{used.stdout.split()[0]} MB, Python {sys.version_info[:2]}")
