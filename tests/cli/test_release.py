"""Releasing as a team does it: two clones, one remote, real keys."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from git_lepton.config.values import GateRule
from git_lepton.gate import verdicts
from git_lepton.gate.verdicts import GateVerdict, gate_hash
from git_lepton.git.objects import open_reader
from git_lepton.record.values import Outcome
from git_lepton.release import moves, status
from git_lepton.release.candidate import read as read_candidate
from git_lepton.release.desk import Desk
from git_lepton.release.names import Version
from git_lepton.release.status import StatusReport
from git_lepton.store.store import Store
from git_lepton.values import Oid
from tests.cli.team import Team
from tests.release.team import CHANNELS, MODEL, PASSED, RULES, Person, refs
from tests.support import git

PROD, LOG = "refs/tags/digits@prod", "refs/lepton/log/digits@prod"


# Versions


def test_versions_are_counted_up_and_never_move(team: Team) -> None:
    team.ada.commit_model(1)
    team.ada.git("push", "-q", "origin", "main")
    assert "0.1.0" in team.must(team.ada, "tag", "digits", "--dry-run").out
    assert not team.ada.git("tag")
    team.must(team.ada, "tag", "digits", "-m", "the first")
    text = team.ada.git("cat-file", "tag", "digits@v0.1.0")
    assert "the first\n\nLepton-Format: 1\nLepton-Model: digits\nLepton-Version: 0.1.0\n" in text
    taken = team.run(team.ada, "tag", "digits", "0.1.0")
    assert (taken.status, "never moves" in taken.err) == (5, True)
    assert team.must(team.ada, "tag", "digits", "--major", "--push").out.startswith("digits@v1.0.0")
    team.bob.git("pull", "-q", "origin", "main", "--no-tags")
    assert not team.bob.git("tag")
    taken = team.run(team.bob, "tag", "digits", "1.0.0")
    assert (taken.status, "hint: the next one is 1.0.1" in taken.err) == (5, True)
    answer = team.must(team.bob, "tag", "digits", "--json").json
    assert (answer["schema"], answer["version"], answer["pushed"]) == ("git-lepton.tag/1", "1.0.1", False)


def test_a_model_whose_record_does_not_hold_gets_no_version(team: Team) -> None:
    team.ada.commit_model(1)
    record = team.ada.folder / ".lepton/records/digits.toml"
    old = record.read_bytes()
    team.ada.commit_model(2)
    team.ada.write(".lepton/records/digits.toml", old)
    team.ada.git("commit", "-qm", "the record of another model")
    done = team.run(team.ada, "tag", "digits")
    assert (done.status, "about other files (digits.safetensors)" in done.out) == (5, True)
    team.ada.commit_model(3, outcomes=[Outcome("accuracy", "", "fail", "0.4 is below min 0.5")])
    done = team.run(team.ada, "tag", "digits", "--json")
    assert done.status == 1
    assert done.json["findings"][-1]["text"] == "gate accuracy failed: 0.4 is below min 0.5"
    team.ada.write(".lepton/records/digits.toml", team.ada.record(PASSED).replace(b"pass", b"fine"))
    team.ada.git("commit", "-qm", "a record that is none")
    assert team.run(team.ada, "tag", "digits").status == 5
    assert not team.ada.git("tag")


def test_a_model_without_rules_is_released_with_a_note(team: Team) -> None:
    team.ada.commit_model(1, rules="", outcomes=None)
    team.ada.git("push", "-q", "origin", "main")
    assert "has no record" in team.must(team.ada, "tag", "digits", "--push").out
    team.must(team.ada, "promote", "digits", "prod", "-m", "no policy", "--push")
    assert team.must(team.bob, "verify", "digits@prod", "--unsigned").status == 0


# Promotion


@pytest.mark.parametrize(
    "verb", ["tag", "promote", "rollback", "halt", "resume", "channels", "log", "verify", "deployed"]
)
def test_everything_takes_json(verb: str) -> None:
    command = import_module(f"git_lepton.cli.{verb}").command
    assert "as_json" in {option.name for option in command.params}


def test_a_plan_changes_nothing(team: Team) -> None:
    team.release(1)
    before = refs(team.remote), {r: o for r, o in refs(team.ada.folder).items() if "lepton-remote" not in r}
    plan = team.must(team.ada, "promote", "digits@v1.0.0", "staging", "-m", "first")
    assert "nothing was changed; --push carries it out" in plan.out
    answer = team.must(team.ada, "promote", "digits@v1.0.0", "staging", "-m", "first", "--json").json
    assert (answer["moved"], answer["move"]["seq"], answer["move"]["why"]) == (False, 1, "first")
    after = refs(team.remote), {r: o for r, o in refs(team.ada.folder).items() if "lepton-remote" not in r}
    assert before == after


def test_a_move_without_a_reason_is_refused(team: Team) -> None:
    for words in (("promote", "digits@v1.0.0", "prod"), ("rollback", "digits", "prod"), ("halt", "digits", "prod")):
        refused = team.run(team.ada, *words, "--push")
        assert (refused.status, "'-m'" in refused.err) == (2, True)


def test_missing_weights_and_version_tag_go_first(team: Team) -> None:
    team.ada.commit_model(1)
    team.ada.git("push", "-q", "--no-verify", "origin", "main")
    team.must(team.ada, "tag", "digits", "1.0.0")
    plan = team.must(team.ada, "promote", "digits", "staging", "-m", "go")
    assert "first to origin: 1 weight file (" in plan.out
    assert "), the tag digits@v1.0.0" in plan.out
    assert not [ref for ref in refs(team.remote) if ref.startswith("refs/lepton/")]
    team.must(team.ada, "promote", "digits", "staging", "-m", "go", "--push")
    there = refs(team.remote)
    assert {"refs/tags/digits@v1.0.0", "refs/tags/digits@staging", "refs/lepton/log/digits@staging"} <= there.keys()
    team.must(team.bob, "verify", "digits@staging", "--unsigned")


def test_weights_that_nobody_here_has_stop_a_promotion(team: Team) -> None:
    team.release(1, "staging", "prod")
    for ref in refs(team.remote):
        if ref.startswith(("refs/lepton/models", "refs/lepton/index")):
            git(team.remote, "update-ref", "-d", ref)
    team.bob.git("pull", "-q", "origin", "main")
    refused = team.run(team.bob, "rollback", "digits", "prod", "--to", "1.0.0", "-m", "x", "--push")
    assert (refused.status, "never pushed to origin" in refused.out) == (5, True)
    assert team.run(team.bob, "verify", "digits@prod", "--unsigned").status == 5
    team.must(team.ada, "push")
    team.must(team.bob, "verify", "digits@prod", "--unsigned")


def test_channels_that_lepton_toml_does_not_name_do_not_exist(team: Team) -> None:
    team.release(1)
    refused = team.run(team.ada, "promote", "digits@v1.0.0", "stagin", "-m", "go", "--push")
    assert (refused.status, "it has: prod, staging" in refused.out) == (5, True)
    # What counts is what was reviewed, not what somebody's branch says.
    team.ada.write("lepton.toml", RULES)
    team.ada.git("commit", "-qm", "no channels")
    assert team.run(team.ada, "promote", "digits@v1.0.0", "stagin", "-m", "go").status == 5


def test_a_version_must_have_been_on_the_channel_before(team: Team) -> None:
    channels = CHANNELS + 'soak = "1d"\n'
    team.release(1, rules=RULES + channels)
    refused = team.run(team.ada, "promote", "digits@v1.0.0", "prod", "-m", "go", "--push")
    assert (refused.status, "was never on staging" in refused.out) == (5, True)
    none = team.run(team.ada, "promote", "digits", "prod", "-m", "go")
    assert (none.status, "has no version to take" in none.err) == (2, True)
    none = team.run(team.ada, "promote", "digit", "prod", "-m", "go")
    assert (none.status, "lepton.toml has: digits" in none.err) == (2, True)
    team.must(team.ada, "promote", "digits", "staging", "-m", "go", "--push")
    refused = team.run(team.ada, "promote", "digits", "prod", "-m", "go", "--push")
    assert (refused.status, "are missing" in refused.out) == (5, True)
    assert PROD not in refs(team.remote)


def test_a_critical_channel_wants_the_word_of_ci_where_a_gate_is_left_to_it(team: Team) -> None:
    team.release(1, "staging", outcomes=[Outcome("accuracy", "", "pending")])
    refused = team.run(team.ada, "promote", "digits", "prod", "-m", "go", "--push")
    assert (refused.status, "left to CI" in refused.out) == (5, True)
    commit = Oid(team.ada.git("rev-parse", "HEAD"))
    candidate = read_candidate(team.ada.repo, open_reader(team.ada.repo), "digits", commit)
    rule: GateRule = candidate.settings.gates[0]
    said = GateVerdict(
        "digits", "accuracy", candidate.located.bundle.hash, gate_hash(rule, None), "pass", commit, outcome=PASSED
    )
    verdicts.publish(team.ada.repo, "origin", verdicts.write(team.ada.repo, [said]))
    team.must(team.bob, "promote", "digits", "prod", "-m", "CI agrees")
    failed = replace(said, verdict="fail", outcome=(Outcome("accuracy", "", "fail"),))
    verdicts.publish(team.ada.repo, "origin", verdicts.write(team.ada.repo, [failed]))
    assert team.run(team.bob, "promote", "digits", "prod", "-m", "go", "--push").status == 1


def test_a_channel_serves_its_variant(team: Team) -> None:
    edge = '[channel.edge]\nvariant = "int8"\n'
    rules = RULES.replace("[[", 'variants = ["int8"]\n[[', 1) + edge
    team.ada.commit_model(1, rules=rules, outcomes=PASSED)
    refused = team.run(team.ada, "tag", "digits", "1.0.0")
    assert (refused.status, "it lists other variants" in refused.out) == (5, True)
    team.ada.commit_model(2, rules=RULES + '[model.letters]\nmain = "letters.onnx"\nvariants = ["int8"]\n' + edge)
    team.ada.git("push", "-q", "origin", "main")
    team.must(team.ada, "tag", "digits", "1.0.0")
    refused = team.run(team.ada, "promote", "digits@v1.0.0", "edge", "-m", "go", "--push")
    assert (refused.status, "no variant int8" in refused.out) == (5, True)
    both = (*PASSED, Outcome("accuracy", "int8", "pass"))
    team.ada.commit_model(3, rules=rules, outcomes=both, int8=True)
    team.ada.git("push", "-q", "origin", "main")
    team.must(team.ada, "tag", "digits", "1.1.0")
    answer = team.must(team.ada, "promote", "digits", "edge", "-m", "go", "--push", "--json").json
    assert answer["move"]["variant"] == "int8"
    assert len(answer["weights_first"]) == 2
    assert team.must(team.bob, "verify", "digits@edge", "--unsigned").out.count("ok ") >= 5


# Two people


def test_the_loser_of_a_race_is_told_who_won(team: Team, keys: Path, tmp_path: Path) -> None:
    team.release(1, "staging")
    team.release(2, "staging", "prod")
    team.bob.git("pull", "-q", "origin", "main", "--tags")
    before = refs(team.ada.folder)[PROD]
    script = tmp_path / "sign"
    bob = f"cd {team.bob.folder} && {sys.executable} -m git_lepton promote digits@v1.0.0 prod -m earlier --push"
    script.write_text(
        f'#!/bin/sh\n(unset $(git rev-parse --local-env-vars); {bob}) >&2 </dev/null || exit 1\nexec ssh-keygen "$@"\n'
    )
    script.chmod(0o755)
    team.ada.sign_with(keys)
    team.ada.git("config", "gpg.ssh.program", str(script))
    lost = team.run(team.ada, "promote", "digits@v1.1.0", "prod", "-m", "mine", "--push", "--ring", "10%")
    assert lost.status == 4, lost.err
    assert "moved by Bob <bob@example.org> first: digits prod: promote 1.0.0; nothing moved" in lost.err
    assert refs(team.ada.folder)[PROD] == before
    team.ada.git("config", "--unset", "gpg.ssh.program")
    assert team.version(team.ada, "prod") == "1.0.0"
    moves = team.must(team.ada, "log", "digits@prod", "--json").json["moves"]
    assert [move["move"]["seq"] for move in moves] == [2, 1]


def test_only_promoters_move_a_channel(team: Team, keys: Path) -> None:
    rules = RULES + '[channel.prod]\npromoters = ["ada@example.org"]\n'
    team.release(1, rules=rules)
    unsigned = team.run(team.ada, "promote", "digits@v1.0.0", "prod", "-m", "go", "--push")
    assert (unsigned.status, "would not be signed" in unsigned.out) == (5, True)
    team.bob.git("pull", "-q", "origin", "main", "--tags")
    team.bob.sign_with(keys)
    bob = team.run(team.bob, "promote", "digits@v1.0.0", "prod", "-m", "go", "--push")
    assert (bob.status, "signed by bob@example.org, who may not move this" in bob.err) == (5, True)
    team.bob.sign_with(keys, "eve")
    eve = team.run(team.bob, "promote", "digits@v1.0.0", "prod", "-m", "go", "--push")
    assert (eve.status, "hint: sign with a key" in eve.err) == (5, True)
    assert PROD not in refs(team.remote)
    team.ada.sign_with(keys)
    team.must(team.ada, "promote", "digits@v1.0.0", "prod", "-m", "go", "--push")
    channel = team.channels(team.bob)["digits@prod"]
    assert channel["signature"] == {"state": "good", "principal": "ada@example.org", "problem": None}
    shown = team.must(team.bob, "verify", "digits@prod", "--allowed-signers", str(keys / "allowed")).out
    assert "signed by ada@example.org, key SHA256:" in shown
    assert "ada@example.org\n    go" in team.must(team.bob, "log", "digits@prod").out


def test_verify_refuses_what_an_agent_refuses(team: Team, keys: Path) -> None:
    team.ada.sign_with(keys, "eve")
    team.release(1, "staging")
    assert "not to be followed" in team.run(team.bob, "verify", "digits@staging").out
    team.bob.sign_with(keys)
    assert team.run(team.bob, "verify", "digits@staging").status == 5
    assert team.run(team.bob, "channels").status == 5
    assert "BAD SIGNATURE" in team.run(team.bob, "log", "digits@staging").out
    team.must(team.bob, "verify", "digits@staging", "--unsigned")
    git(team.remote, "tag", "-f", "digits@v1.0.0", "main")
    moved = team.run(team.bob, "verify", "digits@staging", "--unsigned", "--json").json
    assert moved["exit_code"] == 0, "a plain tag on the same commit names the same files"
    team.release(2)
    git(team.remote, "tag", "-f", "digits@v1.0.0", "main")
    moved = team.run(team.bob, "verify", "digits@staging", "--unsigned", "--json").json
    assert [f["topic"] for f in moved["findings"] if f["level"] == "refused"] == ["version"]
    assert team.run(team.bob, "verify", "digits@nowhere").status == 2


def test_nobody_is_brought_to_sign_what_only_an_unsigned_log_says(team: Team, keys: Path) -> None:
    team.ada.sign_with(keys)
    team.release(1, "staging", "prod")
    team.release(2, "staging")
    team.must(team.bob, "promote", "digits@v1.1.0", "prod", "-m", "no key, but may push", "--push")
    team.release(3, "staging", "prod")
    refused = team.run(team.ada, "rollback", "digits", "prod", "-m", "x", "--push")
    assert (refused.status, "move 2, which brought it, is not signed by one who may" in refused.out) == (5, True)
    done = team.must(team.ada, "rollback", "digits", "prod", "--to", "1.0.0", "-m", "x", "--push")
    assert "move 1, which brought it, is signed by ada@example.org" in done.out
    team.ada.git("config", "--unset", "gpg.ssh.allowedSignersFile")
    noted = team.must(team.ada, "rollback", "digits", "prod", "--to", "1.2.0", "-m", "x")
    assert "nobody can tell here" in noted.out


def test_only_its_promoters_can_vouch_for_the_channel_before(team: Team, keys: Path) -> None:
    rules = RULES + '[channel.staging]\npromoters = ["ada@example.org"]\n[channel.prod]\nafter = "staging"\n'
    team.ada.sign_with(keys)
    team.release(1, "staging", rules=rules)
    team.release(2, rules=rules)
    team.bob.git("pull", "-q", "origin", "main", "--tags")
    desk = Desk(Store(team.bob.repo), "digits", "origin")
    before = desk.channel("staging")
    assert before is not None
    assert before.move is not None
    commit = Oid(team.bob.git("rev-parse", "HEAD"))
    candidate = read_candidate(desk.repo, desk.objects, "digits", commit)
    bundle, record = candidate.located.bundle.hash, candidate.record_hash
    forged = replace(before.move, version=Version.parse("1.1.0"), commit=commit, bundle=bundle, record=record)
    moves.carry_out(desk.repo, desk.objects, moves.plan(forged, before, "origin", sign=False))
    refused = team.run(team.ada, "promote", "digits", "prod", "-m", "what is on staging", "--push")
    assert (refused.status, "1.1.0 was never on staging" in refused.out) == (5, True)
    team.must(team.ada, "promote", "digits@v1.0.0", "prod", "-m", "what was signed", "--push")


# Back, halt, resume


def test_rollback_by_steps_leads_further_back_each_time(team: Team) -> None:
    for seed in (1, 2, 3):
        team.release(seed, "staging", "prod")
    team.must(team.ada, "rollback", "digits", "prod", "-m", "wrong on sevens", "--push")
    assert team.version(team.bob, "prod") == "1.1.0"
    again = team.must(team.bob, "rollback", "digits", "prod", "-m", "this too", "--push")
    assert "rollback 1.1.0 -> 1.0.0 (move 5, unsigned)" in again.out
    nothing = team.run(team.ada, "rollback", "digits", "prod", "-m", "more", "--push")
    assert (nothing.status, "0 earlier release(s)" in nothing.err) == (2, True)
    team.must(team.ada, "rollback", "digits", "prod", "--to", "1.2.0", "-m", "it was the data", "--push")
    never = team.run(team.ada, "rollback", "digits", "prod", "--to", "9.0.0", "-m", "x")
    assert (never.status, "never on this channel" in never.err) == (5, True)
    same = team.must(team.ada, "rollback", "digits", "prod", "--to", "1.2.0", "-m", "again", "--push")
    assert "says so already" in same.out
    diary = team.must(team.bob, "log", "digits@prod").out
    assert [line.split("UTC  ")[1].split("  ")[0] for line in diary.splitlines() if "UTC" in line] == [
        "rollback 1.0.0 -> 1.2.0",
        "rollback 1.1.0 -> 1.0.0",
        "rollback 1.2.0 -> 1.1.0",
        "promote 1.1.0 -> 1.2.0",
        "promote 1.0.0 -> 1.1.0",
        "promote 1.0.0",
    ]
    assert "    wrong on sevens\n" in diary


def test_a_rollback_needs_no_valid_policy_and_no_history_of_its_own(team: Team, tmp_path: Path) -> None:
    team.release(1, "staging", "prod")
    team.release(2, "staging", "prod")
    team.ada.write("lepton.toml", "[channel.prod]\nsoack = 1\n")
    team.ada.git("commit", "-qm", "a slip")
    team.ada.git("push", "-q", "origin", "main")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{team.remote}", "shallow")
    shallow = Person("cat", tmp_path / "shallow")
    shallow.git("config", "user.name", "Cat")
    shallow.git("config", "user.email", "cat@example.org")
    done = team.must(shallow, "rollback", "digits", "prod", "-m", "quick", "--push")
    assert "lepton.toml is not valid, so its policy was not looked at" in done.out
    assert team.version(team.ada, "prod") == "1.0.0"
    assert team.run(team.ada, "promote", "digits@v1.1.0", "prod", "-m", "x").status == 2


def test_halt_and_pin_hold_until_somebody_resumes(team: Team) -> None:
    team.release(1, "staging", "prod")
    team.release(2, "staging")
    team.must(team.ada, "halt", "digits", "prod", "-m", "incident 42", "--push")
    assert "halted" in team.must(team.bob, "channels").out
    refused = team.run(team.bob, "promote", "digits", "prod", "-m", "go", "--push")
    assert (refused.status, "halted by Ada <ada@example.org>: incident 42" in refused.out) == (5, True)
    assert "says so already" in team.must(team.bob, "halt", "digits", "prod", "-m", "too", "--push").out
    team.must(team.bob, "resume", "digits", "prod", "--push")
    assert "Ends the halt: incident 42" in team.must(team.bob, "log", "digits@prod").out
    assert team.run(team.bob, "resume", "digits", "prod", "--push").status == 2
    team.must(team.bob, "promote", "digits", "prod", "-m", "fixed there", "--pin", "--push")
    team.release(3, "staging")
    refused = team.run(team.ada, "promote", "digits", "prod", "-m", "go", "--push")
    assert (refused.status, "pinned to 1.1.0" in refused.out) == (5, True)
    team.must(team.ada, "rollback", "digits", "prod", "-m", "the pin was wrong", "--push")
    assert team.version(team.bob, "prod") == "1.0.0"
    assert team.run(team.ada, "halt", "digits", "nowhere", "-m", "x", "--push").status == 2


def test_rings_and_what_was_wanted_at_a_time(team: Team) -> None:
    team.release(1, "staging", "prod")
    team.release(2, "staging")
    time.sleep(1.1)
    middle = time.time()
    team.must(team.ada, "promote", "digits", "prod", "-m", "a tenth", "--ring", "10%", "--push")
    assert "for 10% of agents" in team.must(team.bob, "channels").out
    now = team.must(team.bob, "log", "digits@prod", "--at", "0s").out
    assert "1.1.0 by 10% of agents" in now
    assert "1.0.0 by the others" in now
    then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(middle - 0.9))
    found = team.must(team.bob, "log", "digits@prod", "--at", then, "--json").json["moves"]
    assert [one["move"]["version"] for one in found] == ["1.0.0"]
    assert "was not there yet" in team.must(team.bob, "log", "digits@prod", "--at", "2020-01-01").out
    team.must(team.ada, "promote", "digits", "prod", "-m", "all", "--push")
    assert len(team.must(team.ada, "log", "digits@prod", "-n", "2", "--json").json["moves"]) == 2
    assert team.run(team.ada, "promote", "digits", "prod", "-m", "x", "--ring", "0%").status == 2
    assert team.run(team.ada, "log", "digits@prod", "--at", "when it broke").status == 2
    assert team.run(team.ada, "log", "--at", "3d").status == 2


def test_a_move_counts_for_as_long_as_the_policy_says(team: Team) -> None:
    rules = RULES + '[channel.prod]\nexpires = "2d"\n'
    team.release(1, rules=rules)
    refused = team.run(team.ada, "promote", "digits@v1.0.0", "prod", "-m", "x", "--expires", "30d", "--push")
    assert (refused.status, "counts" in refused.out) == (5, True)
    team.must(team.ada, "promote", "digits@v1.0.0", "prod", "-m", "x", "--expires", "1s", "--push")
    time.sleep(1.5)
    assert "EXPIRED" in team.must(team.bob, "channels").out
    for words in ((), ("--at", "0s")):
        assert " until 20" in team.must(team.bob, "log", "digits@prod", *words).out, "the diary tells"
    assert team.run(team.bob, "verify", "digits@prod", "--unsigned").status == 5
    team.must(team.ada, "promote", "digits@v1.0.0", "prod", "-m", "again", "--push")
    assert "EXPIRED" not in team.must(team.bob, "channels").out


# Plain and damaged channels


def test_plain_tags_are_shown_and_left_to_git(team: Team) -> None:
    team.release(1)
    team.ada.git("tag", "-f", "digits@prod")
    team.ada.git("tag", "-a", "-m", "by hand", "digits@staging")
    team.ada.git("push", "-q", "-f", "origin", "digits@prod", "digits@staging")
    shown = team.must(team.bob, "channels").out
    assert shown.count("plain") == 2
    assert "by hand" in shown
    refused = team.run(team.ada, "promote", "digits@v1.0.0", "staging", "-m", "x", "--push")
    assert (refused.status, "plain tag" in refused.err) == (5, True)
    assert team.run(team.ada, "log", "digits@prod").status == 2
    assert team.must(team.bob, "verify", "digits@prod", "--unsigned").status == 0
    assert team.run(team.bob, "verify", "digits@prod").status == 5


def test_one_damaged_channel_hides_no_other_and_a_move_mends_it(team: Team) -> None:
    team.release(1, "staging", "prod")
    git(team.remote, "update-ref", "refs/tags/digits@staging", refs(team.remote)[PROD])
    found = team.channels(team.bob)
    assert "made for digits@prod" in str(found["digits@staging"]["flaw"])
    assert found["digits@prod"]["flaw"] is None
    assert "BROKEN" in team.run(team.bob, "channels").out
    assert team.run(team.bob, "channels").status == 5
    assert team.run(team.bob, "log", "digits@staging").status == 5
    assert team.run(team.bob, "verify", "digits@staging", "--unsigned").status == 5
    done = team.must(team.ada, "promote", "digits@v1.0.0", "staging", "-m", "mended", "--push")
    assert "this move mends it" in done.out
    team.must(team.bob, "verify", "digits@staging", "--unsigned")
    git(team.remote, "update-ref", "-d", "refs/tags/digits@staging")
    gone = team.run(team.bob, "channels")
    assert (gone.status, "BROKEN: its tag was deleted" in gone.out) == (5, True)
    diary = team.run(team.bob, "log", "digits@staging")
    assert (diary.status, "mended" in diary.out) == (5, True)
    assert team.run(team.bob, "verify", "digits@staging", "--unsigned").status == 5
    team.must(team.ada, "rollback", "digits", "staging", "--to", "1.0.0", "-m", "put it back", "--push")
    team.must(team.bob, "verify", "digits@staging", "--unsigned")


def test_offline_says_as_of_when(team: Team) -> None:
    team.release(1, "staging")
    status.publish(team.ada.repo, "origin", StatusReport("eu-1", "digits", "staging", 3000.0, True, version="1.0.0"))
    assert team.must(team.bob, "channels", "--offline").out.startswith("origin was never asked")
    team.must(team.bob, "channels")
    team.must(team.bob, "deployed")
    (team.remote).rename(team.remote.with_name("gone"))
    for words in (("channels",), ("log", "digits@staging"), ("log", "digits@staging", "--at", "0s"), ("deployed",)):
        offline = team.must(team.bob, *words, "--offline")
        assert offline.out.startswith("as of 2"), words
        assert "1.0.0" in offline.out
        assert team.run(team.bob, *words).status == 8
    assert team.run(team.bob, "log", "--offline").status == 2
    assert team.run(team.bob, "deployed", "--offline", "--prometheus", "http://localhost").status == 2


def test_names_are_told_apart(team: Team) -> None:
    team.release(1)
    assert team.run(team.ada, "promote", "digits@prod", "staging", "-m", "x").status == 2
    assert team.run(team.ada, "promote", "digits@v9.9.9", "staging", "-m", "x").status == 2
    assert team.run(team.ada, "verify", "digits@v1.0.0").status == 2
    assert "Missing option '-m'" in team.run(team.ada, "promote", "digits", "staging").err
    assert team.run(team.ada, "promote", "digits", "staging", "-m", "Lepton-Seq: 9", "--push").status == 2
    assert team.must(team.ada, "log", "-n", "1").out.startswith(team.ada.git("rev-parse", "--short=10", "HEAD")[:7])
    assert str(Version.parse("1.0.0")) in team.must(team.ada, "promote", "digits", "staging", "-m", "of HEAD").out
    assert (team.ada.folder / MODEL).exists()
