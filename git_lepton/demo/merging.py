"""Chapter 3: two people improve one model, and `git merge` takes both, tensor by tensor."""

from __future__ import annotations

from git_lepton.demo import digits
from git_lepton.demo.stage import Stage
from git_lepton.demo.storing import MODEL, Team


def play(stage: Stage, team: Team) -> None:
    """Tell the chapter."""
    path = stage.work / MODEL
    stage.say("\n10. Two people improve the model at once: one its last layer, one the layers before")
    stage.run("git switch -q -c last-layer")
    digits.write_onnx(digits.fine_tune(team.network, team.images, steps=4, last_layer_only=True), path)
    stage.run('git commit -q -a -m "digits: last layer"')
    stage.run("git switch -q main")
    digits.write_onnx(digits.fine_tune_first_layers(team.network, team.images, steps=2), path)
    stage.run('git commit -q -a -m "digits: first layers"')
    stage.say("\n11. Git merges them; the gate judges the result before it is committed")
    stage.show("git merge --no-edit last-layer")
    stage.show("git lepton diff HEAD^1 HEAD")
    stage.show("git lepton diff HEAD^2 HEAD --stat")
    stage.run("git push -q origin main")
    status = stage.quietly("git", "status", "--porcelain")
    stage.check("nothing is left to do", ok=not status)
