"""The command `git lepton`: a table of verbs, each loaded when it is asked for.

This module is what `git lepton --version` and `--help` import; it must stay as light as click itself.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final, cast

import click

from git_lepton import __version__
from git_lepton.cli.verb import EXITS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Set up": {
        "init": ("git_lepton.cli.init", "Make this repository keep weights with git-lepton."),
        "install": ("git_lepton.cli.install", "Set up git for this user, so that git clone just works."),
        "track": ("git_lepton.cli.track", "Let git-lepton store files that match a pattern."),
        "untrack": ("git_lepton.cli.untrack", "Give files that match a pattern back to git."),
        "trust": ("git_lepton.cli.trust", "Let commands that lepton.toml names run in this clone."),
        "doctor": ("git_lepton.cli.doctor", "Check the installation, the hooks and the remote."),
    },
    "Every day": {
        "status": ("git_lepton.cli.status", "Show weights that changed, what they cost, what is not pushed."),
        "ls-files": ("git_lepton.cli.ls_files", "List weight files of a revision."),
        "fetch": ("git_lepton.cli.fetch", "Bring weights from a remote into the repository."),
        "pull": ("git_lepton.cli.pull", "Fetch weights and write them to the work tree."),
        "push": ("git_lepton.cli.push", "Send weights that a remote lacks."),
        "checkout": ("git_lepton.cli.checkout", "Write stored weights to the work tree."),
        "export": ("git_lepton.cli.export", "Write a weight file, or some tensors, anywhere."),
    },
    "Review": {
        "diff": ("git_lepton.cli.diff", "Show what changed in models: which layers, and how far."),
        "log": ("git_lepton.cli.log", "Show the commits that changed models, and what each did."),
        "show": ("git_lepton.cli.show", "Show a commit, and what it did to the models."),
        "report": ("git_lepton.cli.report", "Tell reviewers what a range of commits does to models."),
    },
    "Merge": {
        "resolve": ("git_lepton.cli.resolve", "Decide about tensors that both sides of a merge changed."),
        "merge-models": ("git_lepton.cli.merge_models", "Merge weight files as git merge would, without a repository."),
    },
    "Judge": {
        "gate": ("git_lepton.cli.gate", "Judge models by the rules of lepton.toml, before a commit or in CI."),
        "variants": ("git_lepton.cli.variants", "Build, list and export smaller forms of models."),
        "provenance": ("git_lepton.cli.provenance", "Show what made a model, and what changed since."),
    },
    "Release": {
        "tag": ("git_lepton.cli.tag", "Give a commit's model a version."),
        "promote": ("git_lepton.cli.promote", "Let agents run a version of a model."),
        "rollback": ("git_lepton.cli.rollback", "Let agents run an earlier release again."),
        "halt": ("git_lepton.cli.halt", "Let agents keep what they have."),
        "resume": ("git_lepton.cli.resume", "End a halt or a pin."),
        "channels": ("git_lepton.cli.channels", "Show which version is where, since when, who and why."),
        "verify": ("git_lepton.cli.verify", "Check a channel as an agent does."),
        "deployed": ("git_lepton.cli.deployed", "Show what agents say they run."),
    },
    "Deploy": {
        "agent": ("git_lepton.cli.agent", "Follow channels and swap the models that serve."),
    },
    "Keep and move": {
        "migrate": ("git_lepton.cli.migrate", "Bring raw weights and git-lfs files in, or take weights out."),
        "fsck": ("git_lepton.cli.fsck", "Verify stored weights, here or on a remote."),
        "du": ("git_lepton.cli.du", "Show what each version costs and what was saved."),
        "prune": ("git_lepton.cli.prune", "Delete versions that nothing names any more."),
    },
    "Learn": {
        "demo": ("git_lepton.cli.demo", "Play the whole story with a small real model."),
        "completion": ("git_lepton.cli.completion", "Print the completion script for a shell."),
        "help": ("git_lepton.cli.help", "Show the help of a command."),
    },
}
"""What `git lepton --help` lists: section, then verb, then the module and the summary."""

HIDDEN: Final[dict[str, tuple[str, str]]] = {
    "filter-process": ("git_lepton.cli.filter_process", "The long-running filter that git starts."),
    "hook": ("git_lepton.cli.hook", "What the hooks run."),
    "merge-driver": ("git_lepton.cli.merge_driver", "What git calls to merge weight files."),
}

VERBS: Final = {name: entry for verbs in (*SECTIONS.values(), HIDDEN) for name, entry in verbs.items()}

COMMAND_ATTRIBUTE: Final = "command"
"""Every verb's module calls its click command by this name."""


class LazyGroup(click.Group):
    """A group that knows its verbs' names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs that help and completion show."""
        return [name for verbs in SECTIONS.values() for name in verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        entry = VERBS.get(cmd_name)
        if entry is None:
            return None
        return cast("click.Command", getattr(importlib.import_module(entry[0]), COMMAND_ATTRIBUTE))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete verbs from the table, and options."""
        from click.shell_completion import CompletionItem

        verbs = ((name, summary) for section in SECTIONS.values() for name, (_, summary) in section.items())
        found = [CompletionItem(name, help=summary) for name, summary in verbs if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; suggest one for a name that is close."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            guess = f" Did you mean '{close[0]}'?" if close else " 'git lepton help' lists all commands."
            ctx.fail(f"'{args[0]}' is not a command.{guess}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb. Click takes any broken pipe for a reader that has enough; an inner one is a fault."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if _has_readers():
                raise RuntimeError("another program closed its end of a pipe too early") from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of verbs, from the table alone."""
        width = max(len(name) for verbs in SECTIONS.values() for name in verbs)
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", summary) for name, (_, summary) in verbs.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXITS.items()])


def _has_readers() -> bool:
    """Whether standard output and standard error still have somebody at their other ends."""
    import select

    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream.fileno(), 0)
    return not any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


@click.group(
    "git-lepton", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="git-lepton", message="%(prog)s %(version)s")
def cli() -> None:
    """Model weights as ordinary git content.

    Track weight files once ('git lepton init', 'git lepton track "*.safetensors"'); after that git add, commit, push,
    clone and checkout do the rest: every byte is kept, equal tensors are stored once, and small changes cost little.

    'git lepton help COMMAND' explains a command; 'git lepton demo' shows the whole story in a minute.
    """
