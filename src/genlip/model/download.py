"""Checkpoints on the Hugging Face Hub: which files of a repository are fetched, and the reason of a failure in one line.

In: "owner/name" and a revision. Out: a folder in the Hub's own cache; if the Hub cannot be reached, the cached files.
The first request is never repeated: it finds common errors, and a missing connection, at once. The library itself would
retry for half a minute.
"""

from __future__ import annotations

from pathlib import Path

from genlip.model.weights import CheckpointError

__all__ = ["failures", "fetch", "reason"]

_SECONDS = 10.0  # without an answer, then the Hub counts as unreachable
_SETTINGS = ["*.json", "*.jinja"]  # the latter are chat templates
_WEIGHTS, _PICKLES = "*.safetensors", "pytorch_model*.bin"
_FOLDERS = "*/*"  # not fetched: subfolders such as onnx/, training states, pictures


def fetch(name: str, revision: str | None = None, weights: bool = True, pickles: bool = True) -> Path:
    """The local folder of a repository's settings and, with `weights`, its weights.

    pickles  fetch pickled weights where there are no safetensors; without it the folder then has no weights

    Raises `CheckpointError`.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(name, revision=revision, timeout=_SECONDS)
    except failures() as error:
        return _cached(name, revision, [*_SETTINGS, _WEIGHTS] if weights else _SETTINGS, error)
    files = [file.rfilename for file in info.siblings or [] if "/" not in file.rfilename]
    found = _WEIGHTS if not pickles or any(file.endswith(".safetensors") for file in files) else _PICKLES
    try:
        return _snapshot(name, revision, [*_SETTINGS, found] if weights else _SETTINGS)
    except failures() as error:
        raise _not_given(name, revision, error) from error


def _cached(name: str, revision: str | None, patterns: list[str], refusal: Exception) -> Path:
    """The cached files of an earlier fetch, if complete. Else raises the reason why the new fetch failed."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        if isinstance(refusal, RevisionNotFoundError):  # removed since the earlier fetch
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
    return CheckpointError(
        f"{name}: no such folder, and the Hugging Face Hub did not give it: {reason(error, name, revision)}"
    )


def failures() -> tuple[type[Exception], ...]:
    """Exceptions of requests to the Hub; the first is that of the HTTP library, which differs between releases."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    return (*HfHubHTTPError.__bases__, HFValidationError)


def reason(error: Exception, name: str, revision: str | None = None) -> str:
    """Why a request about a repository failed, in one line that says what to do."""
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
        return "HF_HUB_OFFLINE is set, so it is not asked"
    message = [*(getattr(error, "server_message", None) or str(error)).strip().splitlines(), type(error).__name__][0]
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        hint = {401: f"; {log_in}", 403: "; your token needs the right to do this"}.get(status, "")
        return f"{message} (status {status}){hint}"
    if isinstance(error, HfHubHTTPError.__bases__[0]):
        return f"no connection to {constants.ENDPOINT} ({message or type(error).__name__})"
    return message
