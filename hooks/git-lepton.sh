# What the hooks of git-lepton share; each begins by reading this file.
#
# A hook that was here before, moved to NAME.before-lepton, runs first with the same arguments and input, and decides
# alone whether git goes on. Python starts only where files kept by git-lepton are concerned.

# pre-commit moves a hook that it finds to NAME.legacy, and runs it from there.
lepton_path=${0%.legacy}
lepton_name=${lepton_path##*/}

lepton_warn() {
    printf 'git-lepton: %s\n' "$*" >&2
}

# Run the hook that was here before; its failure is ours.
lepton_before() {
    [ -x "$lepton_path.before-lepton" ] || return 0
    "$lepton_path.before-lepton" "$@" || exit $?
}

# Find the program: on PATH, else where it was when the hooks were installed. The second is a line for the shell.
lepton_find() {
    if command -v git-lepton >/dev/null 2>&1; then
        lepton=git-lepton
        return 0
    fi
    lepton=$(git config --get lepton.command) && [ -n "$lepton" ] && eval "$lepton --version" >/dev/null 2>&1
}

# Run the Python side of this hook.
lepton_run() {
    eval "$lepton hook $lepton_name \"\$@\""
}

# Whether the staged changes touch a path that git-lepton keeps.
lepton_is_staged() {
    git diff --cached --name-only -z --diff-filter=ACMRT |
        git check-attr --stdin -z filter | tr '\0' '\n' | grep -qx lepton
}

# The check before a commit, of whatever kind.
lepton_commit() {
    lepton_before "$@"
    lepton_is_staged || exit 0
    if ! lepton_find; then
        lepton_warn "this commit changes model weights, and git-lepton cannot be run to check them. Repair it with:"
        lepton_warn "    pip install git-lepton"
        lepton_warn "    git lepton install"
        exit 1
    fi
    lepton_run "$@"
    exit $?
}

# Count weight files of the work tree that are still manifests, from their first lines. Those above the limit are
# written by the filter itself, after this hook.
lepton_tell_manifests() {
    case ${GIT_LEPTON_SKIP_SMUDGE:-0} in '' | 0) ;; *) return 0 ;; esac
    lepton_limit=$(git config --type=int --get lepton.smudgeLimit) || lepton_limit=536870912
    lepton_count=$(
        git ls-files -z -- ':(top,attr:filter=lepton)' | LC_ALL=C xargs -0 head -c 200 -- 2>/dev/null |
            LC_ALL=C awk -v limit="$lepton_limit" '
                /^git-lepton [0-9]/ { first = NR }
                /^size [0-9]+$/ && first && NR == first + 2 && $2 + 0 <= limit + 0 { count++ }
                END { print count + 0 }'
    )
    [ "$lepton_count" = 0 ] && return 0
    lepton_warn "weight files that are still manifests: $lepton_count. To get them: git lepton pull"
}
