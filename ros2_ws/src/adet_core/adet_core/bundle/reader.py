# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The one reader of bundles: nothing it returns has escaped a size and checksum check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
import errno
import hashlib
import os
from pathlib import Path
import re
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.bundle.arrays import Arrays, read_arrays
from adet_core.bundle.commit import open_committed
from adet_core.bundle.decode import decode, parse_json
from adet_core.bundle.manifest import (
    AREA_FILE,
    FileEntry,
    GOLDEN_FILE,
    KNOWN_IMAGES_FILE,
    MADE_UP_FILE,
    Manifest,
    META_FILE,
    NORMALS_FILE,
    REFERENCE_FILE,
    STATISTICS_FILES,
    WEIGHTS_FILE,
)
from adet_core.bundle.retrain_report import (
    content_id,
    KnownImages,
    REPORT_FILE,
    REPORT_LIMIT,
    RETRAIN_FOLDER,
    RetrainReport,
)
from adet_core.errors import BundleError
from adet_core.folder import Folder, open_folder
from adet_core.geometry import AlignSpec, Geometry, Mask
from adet_core.image.alignment import AlignmentReference
from adet_core.made_up import draw_defects, MadeUpDefects
from adet_core.models.names import is_model_name
from adet_core.prediction import Prediction

_META_LIMIT = 1 << 20
_BYTES_LIMIT = 16 << 30
_FILES_LIMIT = 100
_PLAIN_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}')
_SHA256 = re.compile(r'[0-9a-f]{64}')
# A deployment may replace the files between two of our reads; the next look sees one whole set.
_ATTEMPTS = 3


class Golden(NamedTuple):
    """Images with the predictions of the model as trained: whatever runs it is checked with them.

    Attributes:
        images: uint8 ``(K, H, W, 3)``, RGB, of the graph's size.
        prediction: Of the trained model.
    """

    images: npt.NDArray[np.uint8]
    prediction: Prediction

    def arrays(self) -> Arrays:
        """The arrays of the file, by name."""
        return {'images': self.images, **self.prediction._asdict()}


class Bundle:
    """A bundle folder whose ``meta.json`` has been read and whose other files are there.

    Attributes:
        folder: Where it lies.
        manifest: What ``meta.json`` says; of a retrained bundle, with the thresholds and files
            that took the place of the deployed ones.
        meta: The bytes of ``meta.json``.
        report: What ``retrain/report.json`` says; None for a bundle as it was deployed.
        base_id: First 12 hexadecimal digits of the sha256 of ``meta.json``.
        bundle_id: The same, or that of ``report.json``: names the whole content.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, meta: bytes, report: bytes | None = None
    ) -> None:
        """Take what was read.

        Raises:
            ValueError: ``report`` is not a report.
        """
        self.folder = folder
        self.meta = meta
        self.base_id = self.bundle_id = content_id(meta)
        self.manifest = manifest
        self.report: RetrainReport | None = None
        self._report_bytes = report
        if report is not None:
            found = RetrainReport.from_json(report)
            if found.base == self.base_id:
                # Else it was made from a bundle that has since been replaced.
                self.report, self.bundle_id = found, content_id(report)
                self.manifest = _retrained(manifest, found)

    @property
    def graph_id(self) -> str:
        """The id of what its graph was made from: retrained statistics need no other graph."""
        own = self.report is not None and WEIGHTS_FILE in self.report.files
        return self.bundle_id if own else self.base_id

    def weights(self) -> bytes:
        """The verified bytes of ``model.pth``; load them with ``weights_only=True``.

        Raises:
            BundleError: The file is missing or not as ``meta.json`` describes it.
        """
        with self.open(WEIGHTS_FILE) as file:
            return file.read()

    def statistics(self) -> Arrays:
        """What retraining replaces, by the name of the graph input it is bound to.

        Returns:
            float32 arrays; none for a model whose weights are all it has learned. Where each input
            of an image has its own, those of the first.

        Raises:
            BundleError: The file is missing, damaged, or not float32.
        """
        return self.input_statistics()[0]

    def input_statistics(self) -> list[Arrays]:
        """The statistics of each input of an image; one entry where they share them.

        Raises:
            BundleError: The file is missing, damaged, not float32, or of another number of inputs.
        """
        arrays, geometry = self._statistics(), self.geometry()
        if not arrays or not geometry.has_own_statistics:
            return [arrays]
        count = geometry.inputs
        for name, array in arrays.items():
            if array.ndim == 0 or len(array) != count:
                msg = f'array {name!r} is {array.shape}, the images have {count} tiles'
                raise self._error(self._statistics_file or '', msg)
        return [{name: array[at] for name, array in arrays.items()} for at in range(count)]

    @property
    def statistics_bytes(self) -> int:
        """Size of the file of statistics, without reading it; 0 if there is none."""
        file = self._statistics_file
        return self.manifest.files[file].size if file else 0

    @property
    def statistics_sha256(self) -> str:
        """Checksum of the file of statistics, without reading it; empty if there is none."""
        file = self._statistics_file
        return self.manifest.files[file].sha256 if file else ''

    @property
    def _statistics_file(self) -> str | None:
        return next((name for name in STATISTICS_FILES if name in self.manifest.files), None)

    def _statistics(self) -> Arrays:
        file = self._statistics_file
        if file is None:
            return {}
        arrays = self._arrays(file)
        for name, array in arrays.items():
            if array.dtype != np.float32:
                msg = f'array {name!r} is {array.dtype}, expected float32'
                raise self._error(file, msg)
        return arrays

    def golden(self) -> Golden:
        """Images with the trained model's predictions.

        Raises:
            BundleError: The file is missing, damaged, or its shapes do not fit.
        """
        arrays = self._arrays(GOLDEN_FILE, ('images', *Prediction._fields))
        image = self.manifest.image
        count = arrays['scores'].size
        expected = {
            'images': ((count, image.height, image.width, 3), np.uint8),
            'scores': ((count,), np.float32),
            'maps': ((count, image.height, image.width), np.float32),
        }
        for name, (shape, dtype) in expected.items():
            if arrays[name].shape != shape or arrays[name].dtype != dtype or count == 0:
                msg = f'array {name!r} is {arrays[name].dtype} {arrays[name].shape}'
                raise self._error(GOLDEN_FILE, msg)
            if not np.isfinite(arrays[name]).all():
                # Nothing that a graph gives would differ from them.
                msg = f'array {name!r} holds values that are no numbers'
                raise self._error(GOLDEN_FILE, msg)
        return Golden(arrays['images'], Prediction(arrays['scores'], arrays['maps']))

    def geometry(self) -> Geometry:
        """How its images become the graph's inputs, and the maps of these the images'.

        Raises:
            BundleError: The file of the inspected area, or that of what images are aligned to, is
                missing, damaged, or does not fit.
        """
        image, inspected = self.manifest.image, None
        if AREA_FILE in self.manifest.files:
            inspected = self._inspected(image.canvas)
        reference = None if image.align is None else self._reference(image.align)
        try:
            return Geometry(image, inspected, reference)
        except ValueError as error:
            name = AREA_FILE if reference is None else REFERENCE_FILE
            raise self._error(name, str(error)) from None

    def _reference(self, align: AlignSpec) -> AlignmentReference:
        if REFERENCE_FILE not in self.manifest.files:
            raise self._error(REFERENCE_FILE, 'is missing, and image align needs it')
        pixels = self._arrays(REFERENCE_FILE, ('pixels',))['pixels']
        edges = (*pixels.shape, 0, 0)[:2]
        if (
            pixels.dtype != np.uint8
            or pixels.ndim != 2
            or not 8 <= min(edges) <= max(edges) <= 1024
        ):
            raise self._error(REFERENCE_FILE, f"array 'pixels' is {pixels.dtype} {pixels.shape}")
        return AlignmentReference(pixels, align.scale, align.is_turned, align.least)

    def _inspected(self, size: tuple[int, int]) -> Mask:
        rows, columns = size
        bits = self._arrays(AREA_FILE, ('inspected',))['inspected']
        if bits.dtype != np.uint8 or bits.shape != (rows, -(-columns // 8)):
            raise self._error(AREA_FILE, f"array 'inspected' is {bits.dtype} {bits.shape}")
        return np.unpackbits(bits, axis=1, count=columns).astype(np.bool_)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open one file of the bundle after checking its size and sha256.

        Raises:
            BundleError: The file is missing or not as ``meta.json`` describes it.
        """
        try:
            file = _open(self.folder, *self._place(name))
        except OSError as error:
            raise self._error(name, _os_reason(error, name)) from None
        with file:
            try:
                self._verify(name, file, self.manifest.files[name])
                file.seek(0)
            except OSError as error:
                raise self._error(name, _os_reason(error, name)) from None
            # What goes wrong from here on (a full disc, say) is the caller's own.
            yield file

    def is_replaced(self) -> bool:
        """Whether something else lies in the folder since this bundle was opened."""
        try:
            with _open(self.folder, META_FILE) as file:
                changed = file.read(_META_LIMIT + 1) != self.meta
            return changed or (
                self.report is not None and _read_report(self.folder) != self._report_bytes
            )
        except OSError:
            return False

    def normals(self) -> npt.NDArray[np.uint8]:
        """Normal images the model was not fitted to, for thresholds of what is learned later.

        Returns:
            uint8 ``(K, H, W, 3)``, RGB, of the canvas' size; K is 0 for a bundle without.

        Raises:
            BundleError: The file is missing, damaged, or its shape does not fit.
        """
        shape = (*self.manifest.image.canvas, 3)
        if NORMALS_FILE not in self.manifest.files:
            return np.empty((0, *shape), np.uint8)
        images = self._arrays(NORMALS_FILE, ('images',))['images']
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise self._error(NORMALS_FILE, f"array 'images' is {images.dtype} {images.shape}")
        return images

    def made_up(self) -> MadeUpDefects:
        """The defects to paste on `normals`; drawn anew for a bundle without the file.

        Raises:
            BundleError: The file is missing, damaged, or does not fit the normal images.
        """
        size = self.manifest.image.canvas
        count = len(self.normals())
        if MADE_UP_FILE not in self.manifest.files:
            return draw_defects(count, size)
        defects = MadeUpDefects(**self._arrays(MADE_UP_FILE, MadeUpDefects._fields))
        try:
            defects.check(count, size)
        except ValueError as error:
            raise self._error(MADE_UP_FILE, str(error)) from None
        return defects

    def known_images(self) -> tuple[dict[str, str], dict[str, str]]:
        """The images it was fitted to, and those kept back: sha256 of each file, and its name.

        Raises:
            BundleError: The file that says so is damaged.
        """
        if self.report is not None:
            return dict(self.report.learned), dict(self.report.held_out)
        known = self._known()
        return known.learned, known.held_out

    def calibrated_with(self) -> set[str]:
        """The sha256 of each image file that its threshold was chosen with.

        Raises:
            BundleError: The file that says so is damaged.
        """
        return {*self.known_images()[1], *self._known().tested}

    def _known(self) -> KnownImages:
        if KNOWN_IMAGES_FILE not in self.manifest.files:
            return KnownImages(learned={}, held_out={})
        if (size := self.manifest.files[KNOWN_IMAGES_FILE].size) > REPORT_LIMIT:
            reason = f'has {size} bytes, more than {REPORT_LIMIT} are not read'
            raise self._error(KNOWN_IMAGES_FILE, reason)
        with self.open(KNOWN_IMAGES_FILE) as file:
            try:
                return decode(KnownImages, parse_json(file.read()))
            except ValueError as error:
                raise self._error(KNOWN_IMAGES_FILE, str(error)) from None

    def _place(self, name: str) -> tuple[str, ...]:
        replaced = self.report is not None and name in self.report.files
        return (RETRAIN_FOLDER, name) if replaced else (name,)

    def _verify(self, name: str, file: IO[bytes], entry: FileEntry) -> None:
        size = os.fstat(file.fileno()).st_size
        if size != entry.size:
            raise self._error(name, f'has {size} bytes, {META_FILE} says {entry.size}')
        digest = hash_file(file)
        if digest != entry.sha256:
            reason = f'checksum mismatch (sha256 {digest[:12]}..., {META_FILE} says '
            raise self._error(name, f'{reason}{entry.sha256[:12]}...)')

    def _arrays(self, name: str, arrays: tuple[str, ...] | None = None) -> Arrays:
        with self.open(name) as file:
            try:
                return read_arrays(file, arrays)
            except ValueError as error:
                raise self._error(name, str(error)) from None

    def _error(self, name: str, reason: str) -> BundleError:
        if self.is_replaced():
            return BundleError(f'{self.folder}: was replaced since it was opened; try again')
        place = self._place(name)
        remedy = 'copy the bundle again from the PC (adet deploy RUN_DIR)'
        if len(place) > 1:
            rollback = f'adet retrain {self.folder} --rollback {self.base_id}'
            remedy = f'go back to what was deployed: {rollback}'
        return BundleError(f'{self.folder.joinpath(*place)}: {reason}; {remedy}')


def open_bundle(folder: Path, *, model: str | None = None, in_service: bool = False) -> Bundle:
    """Read ``meta.json`` of a bundle and check that everything it names is there.

    Checksums are verified as each file is read, so opening is quick.

    Args:
        folder: A ``pytorch`` folder of a run, or ``models/<Model>`` of the robot layout.
        model: The model name that the caller needs; None takes any.
        in_service: Take what was retrained from it, if anything was; else it is as deployed.

    Raises:
        BundleError: Names the file that is wrong and what to do.
    """
    for attempt in range(_ATTEMPTS):
        bundle = _read(folder, in_service=in_service)
        try:
            for name, entry in bundle.manifest.files.items():
                _check_presence(bundle, name, entry)
            break
        except BundleError:
            if attempt == _ATTEMPTS - 1 or not bundle.is_replaced():
                raise
    if model is not None and bundle.manifest.model != model:
        msg = f'{folder}: holds a {bundle.manifest.model} bundle, expected {model}'
        raise BundleError(f'{msg}; name the right folder or model')
    return bundle


def hash_file(file: IO[bytes]) -> str:
    """The sha256 of an open file from its present position on, in hexadecimal."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def file_entry(folder: Folder, name: str) -> FileEntry:
    """Checksum and length of a file.

    Raises:
        OSError: It cannot be read.
    """
    with folder.open(name) as file:
        return FileEntry(sha256=hash_file(file), size=file.tell())


def _retrained(manifest: Manifest, report: RetrainReport) -> Manifest:
    auroc = report.after.image_auroc
    return replace(
        manifest,
        image_threshold=report.image_threshold,
        pixel_threshold=report.pixel_threshold,
        score_range=report.score_range,
        files={**manifest.files, **report.files},
        # Those of the deployed bundle are not its own.
        metrics={} if auroc is None else {'image_auroc': auroc},
    )


def _read_report(folder: Path) -> bytes | None:
    try:
        with _open(folder, RETRAIN_FOLDER, REPORT_FILE) as file:
            return file.read(REPORT_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read(folder: Path, *, in_service: bool) -> Bundle:
    path = folder / META_FILE
    try:
        with _open(folder, META_FILE) as file:
            meta = file.read(_META_LIMIT + 1)
    except OSError as error:
        remedy = 'is this a bundle folder? Deploy one with: adet deploy RUN_DIR --models-root DIR'
        raise BundleError(f'{path}: {_os_reason(error, META_FILE)}; {remedy}') from None
    if len(meta) > _META_LIMIT:
        raise BundleError(f'{path}: larger than {_META_LIMIT} bytes; this is not an adet bundle')
    try:
        manifest = Manifest.from_json(meta)
        bundle = Bundle(folder, manifest, meta)
        _check_files(manifest)
    except ValueError as error:
        raise BundleError(f'{path}: {error}') from None
    if not in_service:
        return bundle
    try:
        bundle = Bundle(folder, manifest, meta, _read_report(folder))
        _check_files(bundle.manifest)
    except (OSError, ValueError) as error:
        reason = _os_reason(error, REPORT_FILE) if isinstance(error, OSError) else error
        path = folder / RETRAIN_FOLDER / REPORT_FILE
        remedy = f'go back to what was deployed: adet retrain {folder} --rollback'
        raise BundleError(f'{path}: {reason}; {remedy} {bundle.base_id}') from None
    return bundle


def _check_files(manifest: Manifest) -> None:
    if not is_model_name(manifest.model):
        msg = f"model {manifest.model!r:.60} is no model's name"
        raise ValueError(msg)
    for name, entry in manifest.files.items():
        plain = _PLAIN_NAME.fullmatch(name) and name != META_FILE
        if not plain or not _SHA256.fullmatch(entry.sha256) or not 0 <= entry.size <= _BYTES_LIMIT:
            msg = f'impossible entry in files: {name!r:.60}'
            raise ValueError(msg)
    total = sum(entry.size for entry in manifest.files.values())
    if total > _BYTES_LIMIT or len(manifest.files) > _FILES_LIMIT:
        msg = f'files claims {total} bytes in all, at most {_BYTES_LIMIT} in {_FILES_LIMIT} files'
        raise ValueError(msg)
    needed = {WEIGHTS_FILE, GOLDEN_FILE}
    if missing := sorted(needed - manifest.files.keys()):
        msg = f'files does not name {missing[0]!r}'
        raise ValueError(msg)


def _check_presence(bundle: Bundle, name: str, entry: FileEntry) -> None:
    try:
        with _open(bundle.folder, *bundle._place(name)) as file:  # noqa: SLF001 - same module
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise bundle._error(name, _os_reason(error, name)) from None  # noqa: SLF001 - same module
    if size != entry.size:
        reason = f'has {size} bytes, {META_FILE} says {entry.size}'
        raise bundle._error(name, reason)  # noqa: SLF001 - same module


def _open(folder: Path, *place: str) -> IO[bytes]:
    """Open a file of a bundle folder by the names that lead to it."""
    with open_folder(folder, *place[:-1]) as home:
        return open_committed(home, place[-1])


def _os_reason(error: OSError, name: str) -> str:
    if error.errno == errno.ENOENT:
        return 'missing'
    if error.errno == errno.ELOOP:
        link = Path(error.filename).name
        # It may also be a folder on the way.
        return f'{link + " " if link != name else ""}is a link, which a bundle may not hold'
    return error.strerror or str(error)
