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

# What a lepton.toml (its object, as git names it) that has models may name: each text in quotes on a line, and where
# records lie. Nothing for one without models. What a model was made of concerns nobody at this time.
lepton_texts() {
    git cat-file blob "$1" 2>/dev/null | LC_ALL=C awk '
        /^[ \t]*(#|provenance[ \t]*=)/ { next }
        /^[ \t]*(\[+[ \t]*["\047]?)?model["\047]?[ \t]*[].=]/ { model = 1 }
        {
            while (match($0, /"[^"]*"|\047[^\047]*\047/)) {
                text = substr($0, RSTART + 1, RLENGTH - 2)
                $0 = substr($0, RSTART + RLENGTH)
                if (text ~ /\\/) text = "*"
                if (text !~ /^[.\/]*$/ && !(text in seen)) { seen[text]; list = list text "\n" }
            }
        }
        END { if (model) printf "lepton.toml\n.lepton/records\n%s", list }'
}

# Whether a path on standard input may concern one of these texts: it is named, lies below or beside a path that is
# named, or fits a glob. Too often is no harm: Python looks closer.
lepton_concerns() (
    [ -n "$1" ] || exit 1
    set -f
    IFS='
'
    while IFS= read -r path; do
        for text in $1; do
            text=${text%/}
            # Globs are meant.
            case $path in $text | */$text | $text/*) exit 0 ;; esac
            case $text in */*) case $path in "${text%/*}"/*) exit 0 ;; esac ;; esac
        done
    done
    exit 1
)

# Whether the staged changes may concern a model that lepton.toml names.
lepton_is_model() {
    git diff --cached --name-only -z | tr '\0' '\n' | lepton_concerns "$(lepton_texts :lepton.toml)"
}

# Make the newest commit again, with what is staged. git itself will not, as long as MERGE_HEAD is there.
lepton_amend() (
    [ "$(git config --type=bool commit.gpgSign)" = true ] && sign=-S || sign=
    set -- $(git log -1 --format=%P)
    for parent; do
        shift
        set -- "$@" -p "$parent"
    done
    GIT_AUTHOR_NAME=$(git log -1 --format=%an) GIT_AUTHOR_EMAIL=$(git log -1 --format=%ae)
    GIT_AUTHOR_DATE=$(git log -1 --format=%ad --date=raw)
    export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE
    tree=$(git write-tree) && new=$(git log -1 --format=%B | git commit-tree $sign "$@" -F - "$tree") &&
        git update-ref -m 'merge: with its record' HEAD "$new" "$(git rev-parse HEAD)"
)

# git merge commits the tree that it had before pre-merge-commit ran: what that hook staged is not in the merge. Where
# exactly that is staged, and nothing else, the merge that was made just now gets it.
lepton_join_merge() {
    note=$(git rev-parse --git-path lepton-staged)
    [ -e "$note" ] || return 0
    if git rev-parse --quiet --verify HEAD^2 >/dev/null; then
        while read -r oid path; do
            [ "$(git rev-parse --quiet --verify ":$path")" = "$oid" ] && printf '%s\n' "$path"
        done <"$note" | sort >"$note.paths"
        if [ -s "$note.paths" ] && git diff --cached --name-only | sort | cmp -s - "$note.paths"; then
            lepton_amend && lepton_warn 'the merge commit has its record now'
        fi
    fi
    rm -f "$note" "$note.paths"
}

# The check before a commit, of whatever kind.
lepton_commit() {
    lepton_before "$@"
    lepton_is_staged || lepton_is_model || exit 0
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
