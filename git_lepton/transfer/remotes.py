"""Which remotes hold the weights, and in which order they are asked.

`[store] url` in the committed lepton.toml names a repository for the weights alone. Whoever can push code can change
it, and it decides where weights are sent, so an address counts in a clone only after it was confirmed there once
(`lepton.storeUrl` holds the confirmed one).
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import urlsplit

from git_lepton.config.store import FILE_NAME, MAX_BYTES, store_settings
from git_lepton.errors import UsageError
from git_lepton.git.repo import Repo, config_get, config_get_all, config_set

CONFIRMED_KEY: Final = "lepton.storeUrl"
_SCP_HOST: Final = re.compile(r"(?:[^@/:]+@)?([^/:]+):")


def settings_text(repo: Repo) -> tuple[bytes, str]:
    """lepton.toml of the work tree, else of HEAD (while a clone is being checked out, or in a bare repository).

    Returns:
        Its content, empty where there is none, and how to call it in messages.
    """
    if repo.work_tree is not None:
        path = repo.work_tree / FILE_NAME
        if path.is_file():
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1), FILE_NAME
    name = f"HEAD:{FILE_NAME}"
    done = repo.git("cat-file", "blob", name, check=False)
    return done.stdout if done.status == 0 else b"", name


def store_url(repo: Repo) -> str | None:
    """The address that lepton.toml names, confirmed or not. Raises UsageError when its table is not valid."""
    data, name = settings_text(repo)
    return store_settings(data, name=name).url


def is_confirmed(repo: Repo, url: str) -> bool:
    """Whether this clone has agreed to `url`."""
    return config_get(repo, CONFIRMED_KEY) == url


def unconfirmed(repo: Repo) -> str | None:
    """The address that lepton.toml names, if this clone has not agreed to it."""
    url = store_url(repo)
    return None if url is None or is_confirmed(repo, url) else url


def confirm(repo: Repo, url: str) -> None:
    """Agree to `url` in this clone, and all its work trees."""
    config_set(repo, CONFIRMED_KEY, url)


def store_remote(repo: Repo, remote: str) -> str:
    """Where the weights of a push to `remote` go: the store's address, or `remote` itself.

    Raises:
        UsageError: lepton.toml names an address that this clone has not agreed to, or is not valid.
    """
    refused = unconfirmed(repo)
    if refused is not None:
        raise UsageError(
            f"{FILE_NAME} sends weights to {refused}, which was not confirmed in this clone",
            hint=f"if that is right: git config {CONFIRMED_KEY} {refused}",
        )
    return store_url(repo) or remote


def candidates(repo: Repo) -> list[str]:
    """Remotes to fetch weights from, the likeliest first: the confirmed store, the upstream, origin, the others."""
    url = None if unconfirmed(repo) else store_url(repo)
    names = remote_names(repo)
    branch = os.fsdecode(repo.git("symbolic-ref", "--quiet", "--short", "HEAD", check=False).stdout).strip()
    upstream = config_get(repo, f"branch.{branch}.remote") if branch else None
    ordered = [url, upstream, "origin", *names]
    known = {*names, url}
    return list(dict.fromkeys(r for r in ordered if r is not None and r in known))


def remote_names(repo: Repo) -> list[str]:
    """Configured remotes, by name."""
    return sorted(os.fsdecode(repo.git("remote").stdout).splitlines())


def push_url(repo: Repo, remote: str) -> str:
    """The address that a push to `remote` goes to."""
    if remote not in remote_names(repo):
        return remote
    return (
        config_get_all(repo, f"remote.{remote}.pushurl") or config_get_all(repo, f"remote.{remote}.url") or (remote,)
    )[0]


def host_of(url: str) -> str | None:
    """The host name in an address, or None for a folder."""
    if "://" in url:
        try:
            return urlsplit(url).hostname
        except ValueError:
            return None
    match = _SCP_HOST.match(url)
    return match[1].lower() if match and "::" not in url else None
