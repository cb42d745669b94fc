"""Chapter 2: a worse model does not get in. A gate in lepton.toml, a commit that passes, one that is refused."""

from __future__ import annotations

from typing import Final

from git_lepton.demo import digits
from git_lepton.demo.stage import Stage
from git_lepton.demo.storing import MODEL, Team
from git_lepton.gate.arrays import write

RULES: Final = """[model.digits]
main = "digits.onnx"
variants = ["int8"]

[[model.digits.gate]]
name = "accuracy"
data = "test.npz"
metric = "accuracy"
min = 0.9
max_drop = 0.02
variants = { int8 = { max_drop = 0.02, min_agreement = 0.95 } }
"""


def play(stage: Stage, team: Team) -> None:
    """Tell the chapter."""
    stage.say("\n7. A quality gate: these lines of lepton.toml are the policy, reviewed like code")
    (stage.work / "lepton.toml").write_text(RULES, encoding="utf-8")
    stage.tell(RULES.splitlines())
    pixels, labels = team.images.test
    with (stage.work / "test.npz").open("wb") as out:
        write(out, {"pixels": pixels, "labels": labels.astype("int64")})
    stage.run('git lepton track "*.npz"')
    stage.run("git add .")
    stage.show('git commit -q -m "digits: judged from now on"')
    stage.run("git push -q origin main")

    stage.say("\n8. A better model passes, and so does its int8 variant, which is built and judged as well")
    team.network = digits.fine_tune(team.network, team.images, steps=4, last_layer_only=False)
    digits.write_onnx(team.network, stage.work / MODEL)
    stage.run("git add .")
    stage.show('git commit -q -m "digits: two more passes"')
    stage.run("git push -q origin main")

    stage.say("\n9. A broken one is refused before the commit exists")
    digits.write_onnx(digits.damage(team.network), stage.work / MODEL)
    stage.run("git add .")
    stage.show('git commit -q -m "digits: oops"', status=1)
    count = len(stage.quietly("git", "rev-list", "HEAD").split())
    stage.check("there is no commit of it", ok=count == 5)
    stage.run(f"git checkout HEAD -- {MODEL}")
