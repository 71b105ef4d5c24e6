# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Before a backend is used for the first time, it predicts what the trained model predicts."""

from __future__ import annotations

from adet_core.bundle import Arrays, Bundle, ExportedGraph, Golden, Parity, read_record
from adet_core.errors import BackendError
from adet_core.inference.backend import Backend
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.parity import measure_parity
from adet_core.prediction import Prediction


def compare(
    backend: Backend, bundle: Bundle, graph: ExportedGraph, precision: str, what: str, remedy: str
) -> Parity:
    """Compare a backend with the trained model on the golden images; binds the statistics.

    Args:
        backend: Runs the graph.
        bundle: As it is in service.
        graph: Its verified graph.
        precision: Whose band holds; a key of `adet_core.inference.parity.BANDS`.
        what: What it is, for the error.
        remedy: What to do then.

    Raises:
        BackendError: They differ, or the graph fails.
        BundleError: A file of the bundle is missing or damaged.
    """
    statistics = bundle.statistics()
    backend.bind(statistics)
    parity = measure_parity(
        backend,
        *_golden(bundle, graph, statistics),
        threshold=bundle.manifest.image_threshold.value,
        span=bundle.manifest.score_range.span,
        precision=precision,
        map_tolerance=read_record(bundle).parity.map_tolerance or 0.0,
    )
    if not parity.holds:
        flips = f' and changes {parity.flips} verdicts' if parity.flips else ''
        msg = (
            f'{what} of {bundle.folder} differs from the trained model by '
            f'{drift(parity, bundle):.2g} of the score range{flips}: it is not used; {remedy}'
        )
        raise BackendError(msg)
    return parity


def drift(parity: Parity, bundle: Bundle) -> float:
    """The largest difference of a score, as a share of the score range."""
    return parity.score_difference / bundle.manifest.score_range.span


def _golden(bundle: Bundle, graph: ExportedGraph, statistics: Arrays) -> Golden:
    """The golden images with the predictions of what is in service."""
    golden = bundle.golden()
    if bundle.bundle_id in {bundle.base_id, bundle.graph_id}:
        return golden
    # The stored predictions are those of the deployed statistics. New statistics went into
    # service with ONNX Runtime, so its predictions are the right ones.
    reference = OnnxRuntimeBackend(graph)
    reference.bind(statistics)
    return Golden(
        golden.images,
        Prediction.concatenate(reference.run(image[None]) for image in golden.images),
    )
