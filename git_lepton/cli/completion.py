"""`git lepton completion SHELL`: completion for `git-lepton …` and, through git's own completion, `git lepton …`.

The shell asks the program itself, by click's protocol (an environment variable names the shell, two more carry the
words), so the script never goes stale. `git lepton …` is completed by the hook that each shell's git completion has
for foreign commands; the word `git` and git's own options are cut off first.
"""

from __future__ import annotations

from typing import Final

import click

from git_lepton.cli.verb import Verb
from git_lepton.errors import EXIT_OK

_BASH: Final = r"""# git-lepton completion for bash: source this after git's own completion
__git_lepton_reply() {
    local IFS=$'\n' answer type value
    answer=$(COMP_WORDS="$1" COMP_CWORD="$2" _GIT_LEPTON_COMPLETE=bash_complete git-lepton 2>/dev/null)
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames 2>/dev/null ;;
            file) COMPREPLY=(); compopt -o default 2>/dev/null ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done <<<"$answer"
}
# git's completion calls this for "git lepton"; it has set words, cword and (since 2.31) __git_cmd_idx.
_git_lepton() {
    local start=${__git_cmd_idx:-1}
    __git_lepton_reply "${words[*]:$start}" "$((cword - start))"
}
_git_lepton_alone() {
    __git_lepton_reply "${COMP_WORDS[*]}" "$COMP_CWORD"
}
complete -o nosort -F _git_lepton_alone git-lepton
"""

_ZSH: Final = r"""#compdef git-lepton
# git-lepton completion for zsh: save it as _git-lepton in a folder of $fpath
_git-lepton() {
    local -a plain described parts
    local type key description
    parts=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
        _GIT_LEPTON_COMPLETE=zsh_complete git-lepton 2>/dev/null)}")
    for type key description in ${parts}; do
        case $type in
            plain)
                if [[ $description == _ ]]; then plain+=("$key"); else described+=("${key//:/\\:}:$description"); fi ;;
            dir) _path_files -/ ;;
            file) _path_files -f ;;
        esac
    done
    (( ${#described} )) && _describe -V unsorted described -U
    (( ${#plain} )) && compadd -U -V unsorted -a plain
}
zstyle ':completion:*:*:git:*' user-commands lepton:'model weights as ordinary git content'
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _git-lepton "$@"; else compdef _git-lepton git-lepton; fi
"""

_FISH: Final = r"""# git-lepton completion for fish: save it as ~/.config/fish/completions/git-lepton.fish
function __git_lepton_complete
    set -l line (commandline -cp | string replace -r '^\s*git\s.*?\blepton\b' 'git-lepton')
    for answer in (env _GIT_LEPTON_COMPLETE=fish_complete COMP_WORDS="$line" COMP_CWORD=(commandline -t) git-lepton)
        set -l parts (string split -m 1 ',' -- $answer)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command git-lepton --arguments '(__git_lepton_complete)'
complete --no-files --command git --condition '__fish_seen_subcommand_from lepton' --arguments '(__git_lepton_complete)'
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command(
    "completion",
    cls=Verb,
    examples=(
        ('eval "$(git lepton completion bash)"', "In ~/.bashrc, after git's own completion."),
        ("git lepton completion zsh > ~/.zfunc/_git-lepton", "With ~/.zfunc in $fpath."),
        ("git lepton completion fish > ~/.config/fish/completions/git-lepton.fish", "For fish."),
    ),
)
@click.argument("shell", type=click.Choice(sorted(SCRIPTS)))
def command(shell: str) -> int:
    """Print the completion script for a shell.

    It completes 'git-lepton' and, where git's own completion is loaded, 'git lepton'.
    """
    return run(shell=shell)


def run(*, shell: str) -> int:
    """Print the script for `shell`, a key of `SCRIPTS`."""
    click.echo(SCRIPTS[shell], nl=False)
    return EXIT_OK
