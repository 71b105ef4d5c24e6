# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where the trials of a search are kept, and how it is noticed that a process died."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from pathlib import Path
import sys
import threading
import time
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from adet_core.errors import ConfigError

JOURNAL, PROXY = 'journal:', 'grpc://'
HEARTBEAT = 'heartbeat'
"""The attribute of a trial with the time (s since 1970) at which its process was alive."""
# A trial whose process has not been heard of for twice as long is taken for dead.
_HEARTBEAT_S = 30
_OPEN_TRIES = 5
_OPEN_PAUSE_S = 0.5
_PROXY_S = 10.0
_PROXY_PORT = 13000
Objective = Callable[[optuna.Trial], float]


def open_storage(url: str, folder: Path) -> tuple[str, BaseStorage]:
    """Open the storage of a study; returns its URL, too.

    Args:
        url: Of Optuna, ``journal:FILE``, ``grpc://HOST:PORT`` of Optuna's proxy, or empty.
        folder: For a SQLite file, where the URL is empty; made if need be.

    Raises:
        ConfigError: It cannot be opened.
    """
    if not url:
        folder.mkdir(parents=True, exist_ok=True)
        url = f'sqlite:///{folder.resolve() / "tune.db"}'
    tries = 1 if url.startswith(PROXY) else _OPEN_TRIES
    for _ in range(tries - 1):
        # Two that open a new database at once both make its tables, and one of them fails.
        with contextlib.suppress(Exception):
            return url, _open_url(url)
        time.sleep(_OPEN_PAUSE_S)
    try:
        return url, _open_url(url)
    except Exception as error:  # noqa: BLE001 - each database raises its own
        msg = f'storage {url} cannot be opened ({first_line(error)}); e.g. sqlite:///FILE can'
        raise ConfigError(msg) from None


def _open_url(url: str) -> BaseStorage:
    if url.startswith(JOURNAL):
        return JournalStorage(JournalFileBackend(url[len(JOURNAL) :]))
    if url.startswith(PROXY):
        from optuna.storages import GrpcStorageProxy

        parts = urlsplit(url)
        proxy = GrpcStorageProxy(host=parts.hostname or '', port=parts.port or _PROXY_PORT)
        proxy.wait_server_ready(_PROXY_S)
        return proxy
    return RDBStorage(url, heartbeat_interval=_HEARTBEAT_S)


def storage_errors() -> tuple[type[Exception], ...]:
    """What a storage raises when it goes away."""
    # Imported by Optuna where a proxy is used.
    grpc = sys.modules.get('grpc')
    return (optuna.exceptions.StorageInternalError, *((grpc.RpcError,) if grpc else ()))


def first_line(error: Exception) -> str:
    """The first line of an error, shortened."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def with_heartbeat(objective: Objective, storage: BaseStorage) -> Objective:
    """An objective whose trials say while they run that their process is alive.

    Optuna does it by itself where it has a database; a journal and a proxy have no heartbeat.
    """
    if isinstance(storage, RDBStorage):
        return objective

    def beating(trial: optuna.Trial) -> float:
        ended = threading.Event()

        def beat() -> None:
            while True:
                # A beat that is lost is no reason to lose the trial.
                with contextlib.suppress(*storage_errors(), OSError):
                    storage.set_trial_user_attr(trial._trial_id, HEARTBEAT, time.time())  # noqa: SLF001
                if ended.wait(_HEARTBEAT_S):
                    return

        thread = threading.Thread(target=beat, name='heartbeat', daemon=True)
        thread.start()
        try:
            return objective(trial)
        finally:
            ended.set()
            thread.join()

    return beating


def fail_dead_trials(study: optuna.Study, storage: BaseStorage) -> int:
    """Mark the running trials of dead processes as failed; returns how many.

    Optuna does it by itself where it has a database.
    """
    if isinstance(storage, RDBStorage):
        return 0
    failed = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        told = trial.user_attrs.get(HEARTBEAT)
        # One that has not beaten yet has just begun.
        if told is None or time.time() - told < 2 * _HEARTBEAT_S:
            continue
        # Another process may have found it at the same moment.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, RuntimeError):
            storage.set_trial_user_attr(trial._trial_id, 'reason', 'its process died')  # noqa: SLF001
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # noqa: SLF001
            failed += 1
    return failed
