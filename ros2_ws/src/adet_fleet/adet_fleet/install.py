# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Putting what was fetched into service on a robot, and taking it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
import fcntl
import json
import os
from pathlib import Path

from adet_core.bundle import Bundle, copy_bundle, copy_engine, open_bundle
from adet_core.bundle.decode import decode, parse_json
from adet_core.deployed import place_in_use
from adet_core.errors import AdetError, BundleError, ConfigError, RejectedError
from adet_core.folder import open_regular, write_atomic
from adet_core.models.names import model_folder
from adet_core.progress import ProgressCallback, silent
from adet_core.storage import Source, StorageError
from adet_fleet.fetch import fetch_files
from adet_fleet.release import Release

_HOME = '.fleet'
_LARGEST_STATE = 1 << 16
Load = Callable[[Bundle], str]
"""Lets a running detector take the bundle in service; returns what it says. Raises AdetError."""


@dataclass(frozen=True)
class State:
    """What this robot has of a model, ``.fleet/<Model>/state.json``.

    Attributes:
        bundle_id: In service by the last release that was taken.
        number: Of that release.
        time: When it was taken, UTC, ISO 8601.
        outcome: ``installed``, ``refused`` or ``rollback``.
        message: For a person.
    """

    bundle_id: str = ''
    number: int = 0
    time: str = ''
    outcome: str = ''
    message: str = ''


class Robot:
    """The models of one robot."""

    def __init__(self, models_root: Path) -> None:
        """Only remember where they are."""
        self.models_root = models_root

    def state(self, model: str) -> State:
        """The last thing that happened; an empty state if nothing did.

        Raises:
            ConfigError: The file is damaged.
        """
        path = self._home(model) / 'state.json'
        try:
            with open_regular(path) as file:
                return decode(State, parse_json(file.read(_LARGEST_STATE)))
        except FileNotFoundError:
            return State()
        except (OSError, ValueError) as error:
            msg = f'{path}: {error}; remove it'
            raise ConfigError(msg) from None

    def install(
        self,
        source: Source,
        release: Release,
        *,
        load: Load | None = None,
        allow_older: bool = False,
        progress: ProgressCallback = silent,
    ) -> State:
        """Fetch a release, check it, and put it into service; else the old bundle stays.

        The graph has to give the trained model's verdicts on this machine before anything is
        changed. Where a detector runs, it has the last word.

        Args:
            source: Of the files.
            release: As it was verified.
            load: Tells the running detector; None: there is none.
            allow_older: Take a release that is older than the one in service.
            progress: Told of the work.

        Returns:
            The new state.

        Raises:
            RejectedError: The bundle cannot be used here; the state says why.
            StorageError: It cannot be fetched; nothing has changed.
            OSError: The disk cannot be written.
        """
        model = release.model
        with self._locked(model):
            before = self.state(model)
            if not allow_older:
                _refuse_older(release, before)
            if self._is_in_service(release, before):
                return before
            try:
                fetched = fetch_files(
                    source, release, self._home(model) / 'incoming', progress=progress
                )
                _try(fetched, progress)
                message = self._replace(fetched, load)
            except StorageError:
                raise
            except AdetError as error:
                self._tell(model, before.bundle_id, before.number, 'refused', str(error))
                msg = f'{release.bundle_id} is not taken: {error}'
                raise RejectedError(msg) from error
            return self._tell(model, release.bundle_id, release.number, 'installed', message)

    def rollback(self, model: str, *, load: Load | None = None) -> State:
        """Put the bundle before the last release back into service.

        Raises:
            BundleError: There is none.
            AdetError: The running detector refuses it.
        """
        with self._locked(model):
            previous = self._home(model) / 'previous'
            try:
                bundle = open_bundle(previous, model=model)
            except BundleError:
                msg = f'{self.models_root}: keeps no bundle of {model} before the present one'
                raise BundleError(msg) from None
            message = self._put(bundle, load)
            before = self.state(model)
            # The number stays: the release that was rolled back is not taken again by itself.
            return self._tell(model, bundle.bundle_id, before.number, 'rollback', message)

    def _is_in_service(self, release: Release, before: State) -> bool:
        if (before.number, before.outcome) != (release.number, 'installed'):
            return False
        try:
            target = place_in_use(self.models_root, release.model, release.category)
            return open_bundle(target).bundle_id == release.bundle_id
        except BundleError:
            return False

    def _replace(self, bundle: Bundle, load: Load | None) -> str:
        target = self._place(bundle)
        previous = self._home(bundle.manifest.model) / 'previous'
        try:
            old = open_bundle(target)
        except BundleError:
            # None, or one that cannot be used.
            return self._put(bundle, load)
        if old.bundle_id == bundle.bundle_id:
            return self._put(bundle, load)
        kept = copy_bundle(old, previous)
        copy_engine(old, kept)
        try:
            return self._put(bundle, load)
        except (AdetError, OSError):
            self._put(kept, None)
            raise

    def _put(self, bundle: Bundle, load: Load | None) -> str:
        target = self._place(bundle)
        deployed = copy_bundle(bundle, target)
        copy_engine(bundle, deployed)
        return load(deployed) if load else 'no detector was told; its next start takes it'

    def _place(self, bundle: Bundle) -> Path:
        manifest = bundle.manifest
        return place_in_use(self.models_root, manifest.model, manifest.category)

    def _home(self, model: str) -> Path:
        return self.models_root / _HOME / model_folder(model)

    def _tell(self, model: str, bundle_id: str, number: int, outcome: str, message: str) -> State:
        now = datetime.now(timezone.utc).isoformat(timespec='seconds')
        state = State(bundle_id, number, now, outcome, message)
        write_atomic(
            self._home(model) / 'state.json', json.dumps(asdict(state), indent=1).encode()
        )
        return state

    @contextmanager
    def _locked(self, model: str) -> Iterator[None]:
        """One release at a time; the lock goes with the process."""
        home = self._home(model)
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(home / '.lock', os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                msg = f'{home}: another process takes a release; wait for it'
                raise ConfigError(msg) from None
            yield
        finally:
            os.close(descriptor)


def _refuse_older(release: Release, before: State) -> None:
    """Keep out what somebody sends again, and what was rolled back here.

    Raises:
        RejectedError: The release is not newer than what this robot has seen.
    """
    if release.number < before.number:
        msg = f'the release of {release.bundle_id} is older than the last one this robot took'
    elif release.number == before.number and before.outcome == 'rollback':
        msg = f'the release of {release.bundle_id} was rolled back on this robot'
    else:
        return
    raise RejectedError(f'{msg}; publish it again, or use --allow-older')


def _try(bundle: Bundle, progress: ProgressCallback) -> None:
    """Predict golden images as a detector does before it goes into service.

    Raises:
        AdetError: The bundle cannot be used on this machine.
    """
    from adet_core.inference.detector import Detector

    progress('trying golden images', 0, 1)
    # An engine of TensorRT takes minutes; the detector builds it when it loads the bundle.
    Detector.load(bundle.folder, backend='onnxruntime')
    progress('trying golden images', 1, 1)
