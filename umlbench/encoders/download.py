"""Files of the hub at one commit: resumed, waited for, checked, and refusals put into words.

What the client does not do by itself: it takes any bytes of the right length for the file, takes
the server's word for the commit, and does not wait wherever a busy hub asks it to.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

TRIES = 4
LONGEST = 120.0  # seconds: a hub that asks for more is reported instead
BROKE_OFF = re.compile(r"should be of size (\d+) but has size (\d+) \(.*?([^/()]+)\)\.")
SMALL = ("*.json", "*.txt", "*.model")  # configuration and tokenizer


class Refused(Exception):
    """The hub did not give what was asked for; one line that says why and what helps."""


def commit_of(repo: str) -> str:
    """The commit that `main` of a repository is now; raises `Refused`.

    It is noted in the hub's cache, as the client does where it downloads `main` by that name:
    without it, a file downloaded by its commit could not be found again offline.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    commit = str(_patiently(lambda: HfApi().model_info(repo).sha, repo, "main"))
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    try:
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
    except OSError as error:
        raise Refused(f"its cache cannot be written: {error}") from error
    return commit


def file(repo: str, name: str, commit: str) -> Path | None:
    """One file, downloaded where it is not in the hub's cache; None where there is none of it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def get() -> Path | None:
        try:
            return Path(hf_hub_download(repo, name, revision=commit))
        except LocalEntryNotFoundError:  # no connection: also an EntryNotFoundError
            raise
        except EntryNotFoundError:
            return None

    path = _patiently(get, repo, commit)
    return None if path is None else _checked(path, commit)


def snapshot(repo: str, commit: str) -> Path:
    """The folder of a model; its weights come last, so that a folder with weights is whole."""
    from huggingface_hub import HfApi

    names = _patiently(lambda: HfApi().list_repo_files(repo, revision=commit), repo, commit)
    weights = "*.safetensors" if any(name.endswith(".safetensors") for name in names) else "*.bin"
    folder = Path()
    for wanted in (SMALL, (weights,)):
        folder = _patiently(partial(_matching, repo, commit, wanted), repo, commit)
    for path in sorted(folder.iterdir()):
        if path.is_file():
            _checked(path, commit)
    return folder


def fault(path: Path) -> str:
    """Why a file of the hub's cache is not what the hub gave out; empty where it is.

    The client stores a file under its ETag: the sha256 of a large file, git's blob hash (sha1) of
    a small one. A file of another cache layout cannot be told, and passes.
    """
    expected = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", expected):
        return "" if sha256(path.resolve()) == expected else "differs from its checksum"
    if re.fullmatch(r"[0-9a-f]{40}", expected):
        body = path.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False)
        return "" if found.hexdigest() == expected else "differs from its checksum"
    return ""


def sha256(path: Path) -> str:
    """Remembered by size and time, so that a second plan does not read gigabytes."""
    from umlbench.data.digests import FileDigests
    from umlbench.features import default_root

    return FileDigests(path.parent, default_root())([path])[0]


def _matching(repo: str, commit: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            repo, revision=commit, allow_patterns=list(patterns), ignore_patterns=["*/*"]
        )
    )


def _checked(path: Path, commit: str) -> Path:
    """`path`, or `Refused`: a file that is not what the hub says it is does not stay."""
    if commit not in path.parts:
        raise Refused(f"{path.name} came from another commit than {commit[:8]}: refused")
    what = fault(path)
    if what:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise Refused(f"{path.name} {what}: refused and removed; try again, or another connection")
    return path


def _patiently(call: Callable[[], T], repo: str, revision: str) -> T:
    """The call's answer, tried again where the hub is busy or a file arrived in part."""
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except _unreachable() as error:
            pause = _pause(error, attempt)
            if pause is None or attempt == TRIES:
                raise Refused(_in_words(error, repo, revision)) from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _pause(error: BaseException, attempt: int) -> float | None:
    """Seconds until another attempt may help; None where none will."""
    response = _response(error)
    status = getattr(response, "status_code", None)
    if status == 429:  # what else a busy hub answers, its client waits for by itself
        asked = str(response.headers.get("Retry-After", ""))
        seconds = float(asked) if asked.isdigit() else 2.0 ** (attempt - 1)
        return seconds if seconds <= LONGEST else None
    return 0.5 if BROKE_OFF.search(str(error)) else None


def _in_words(error: BaseException, repo: str, revision: str) -> str:
    """Why the hub did not give it, and what helps."""
    from huggingface_hub import errors

    status = getattr(_response(error), "status_code", None)
    found = [one for one in _chain(error) if isinstance(one, errors.HfHubHTTPError)]
    login = "log in with `hf auth login`, or set HF_TOKEN"
    if any(isinstance(one, errors.GatedRepoError) for one in found) or status == 403:
        return f"gated: accept the terms on the page of {repo}, then {login} ({status})"
    if any(isinstance(one, errors.RevisionNotFoundError) for one in found):
        return f"it has no revision {revision} ({status})"
    if status == 401:
        return f"no access: {repo} is gated, private or not there; check the id and {login} (401)"
    if status == 404:
        return f"there is no model with the id {repo} (404); check the id"
    if status == 429:
        return f"too many requests (429, after {TRIES} attempts); wait a while, or {login}"
    if status is not None:
        return f"it answers {status}; try again later"
    broken = BROKE_OFF.search(str(error))
    if broken:
        size, have, name = broken.groups()
        return f"{name} broke off after {have} of {size} bytes; the next attempt goes on there"
    last = _chain(error)[-1]
    return (
        f"no connection, or no room: {(str(last).splitlines() or [''])[0] or type(last).__name__}"
    )


def _response(error: BaseException) -> Any:
    """The hub's answer behind an error, which the client wraps in others of its own."""
    answers = (getattr(one, "response", None) for one in _chain(error))
    return next((answer for answer in answers if answer is not None), None)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _unreachable() -> tuple[type[Exception], ...]:
    """What the hub's client raises: an OSError, or one of the HTTP library it is built on."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))
