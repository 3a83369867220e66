"""Checkpoints on the Hugging Face Hub: which files of a repository are fetched, and why that failed, in a line.

In: "owner/name" and a revision. Out: a folder in the Hub's own cache; where the Hub cannot be reached, what the cache holds.
One request that is never repeated comes first: it finds the usual faults, and that there is no connection, at once, where
the library would try again for half a minute.
"""

from __future__ import annotations

from pathlib import Path

from genlip.model.weights import CheckpointError

__all__ = ["failures", "fetch", "reason"]

_SECONDS = 10.0  # of silence after which the Hub counts as out of reach
_SETTINGS, _WEIGHTS, _PICKLES = "*.json", "*.safetensors", "pytorch_model*.bin"
_FOLDERS = "*/*"  # what others add beside a model: onnx/, training states, pictures; never code, wherever it lies


def fetch(name: str, revision: str | None = None, weights: bool = True) -> Path:
    """The local folder of a repository's settings and, unless told otherwise, its weights; pickles only for want of better.

    Raises `CheckpointError`.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(name, revision=revision, timeout=_SECONDS)
    except failures() as error:
        return _cached(name, revision, [_SETTINGS, _WEIGHTS] if weights else [_SETTINGS], error)
    files = [file.rfilename for file in info.siblings or [] if "/" not in file.rfilename]
    found = _WEIGHTS if any(file.endswith(".safetensors") for file in files) else _PICKLES
    try:
        return _snapshot(name, revision, [_SETTINGS, found] if weights else [_SETTINGS])
    except failures() as error:
        raise _not_given(name, revision, error) from error


def _cached(name: str, revision: str | None, patterns: list[str], refusal: Exception) -> Path:
    """What an earlier fetch has left, if it is whole; else the reason why there is no new one."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        if isinstance(refusal, RevisionNotFoundError):  # taken away since, then
            raise refusal
        return _snapshot(name, revision, patterns, local_files_only=True)
    except failures() as error:
        raise _not_given(name, revision, refusal) from error


def _snapshot(name: str, revision: str | None, patterns: list[str], local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        name, revision=revision, allow_patterns=patterns, ignore_patterns=[_FOLDERS], local_files_only=local_files_only
    )
    return Path(folder)


def _not_given(name: str, revision: str | None, error: Exception) -> CheckpointError:
    told = reason(error, name, revision)
    return CheckpointError(f"{name}: no such folder, and the Hugging Face Hub did not give it: {told}")


def failures() -> tuple[type[Exception], ...]:
    """What talking to the Hub may raise; the first is the HTTP library's own, which differs between releases."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    return (*HfHubHTTPError.__bases__, HFValidationError)


def reason(error: Exception, name: str, revision: str | None = None) -> str:
    """Why the Hub refused something about a repository, in one line that says what to do."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    log_in = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, GatedRepoError):
        return f"access must be asked for at {constants.ENDPOINT}/{name}; then {log_in}"
    if isinstance(error, RepositoryNotFoundError):
        whose = "that your token may not read" if get_token() else f"that asks for a token: {log_in}"
        return f"it has no model of this name, or a private one {whose}"
    if isinstance(error, RevisionNotFoundError):
        return f"it has this model, but no revision {revision!r} of it"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, which forbids to ask it"
    told = [*(getattr(error, "server_message", None) or str(error)).strip().splitlines(), type(error).__name__][0]
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        hint = {401: f"; {log_in}", 403: "; your token needs the right to do this"}.get(status, "")
        return f"{told} (status {status}){hint}"
    if isinstance(error, HfHubHTTPError.__bases__[0]):
        return f"no connection to {constants.ENDPOINT} ({told or type(error).__name__})"
    return told
