# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The inspection graph with all its nodes in this process; images stay in its memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
import json
from pathlib import Path
import sys
from typing import Any

from rclpy.utilities import remove_ros_args

from adet import environment
from adet.companions import beside, Companion
from adet.graph import (
    cameras,
    check_bundles,
    check_source,
    ends,
    inspection_graph,
    model_names,
    NodeSpec,
    prepare_output,
)
from adet.hand_over import HandOver
from adet.launch_options import InspectOptions
from adet.live_view import LiveView
from adet.names import check_known
from adet.node import AdetNode
from adet.nodes.csv_recorder import CsvRecorder
from adet.nodes.detector import DetectorNode
from adet.nodes.image_source import ImageSource
from adet.parameters import from_texts, options_of
from adet.params_file import check_params_file
from adet.run_summary import summarise
from adet.runner import end, init, reported, run
from adet_core.paths import user_path
from adet_core.progress import progress_bars
from adet_core.records import read_records, Record, results_path


def inspect(
    options: InspectOptions,
    view: LiveView | None = None,
    companions: Sequence[Companion] = (),
) -> dict[str, Any]:
    """Run a graph until its source ends, or for ever with a camera until interrupted.

    Several cameras have a graph each, and share the weights of the models.

    Args:
        options: What is inspected, and how.
        view: Shows the verdicts on a terminal.
        companions: Run beside it, once it is known that it can begin.

    Returns:
        What `adet.run_summary.summarise` says; per model also ``results``, the file; and under
        ``earlier_results``, what files of earlier runs are called now. With several cameras, a
        model's name follows the namespace and a slash.

    Raises:
        KeyboardInterrupt: A run that has an end was interrupted; its rows so far are kept.
        Exception: What a node failed with.
    """
    params_file = check_params_file(options.params_file)
    graphs = [(one, inspection_graph(one)) for one in cameras(options)]
    for one, _ in graphs:
        check_source(one)
    check_bundles(options)
    earlier = [path for one, _ in graphs for path in prepare_output(one)]
    paths = result_paths([one for one, _ in graphs])
    # A camera's rows go on where those of the last run ended; another file was set aside.
    before = {
        name: sum(1 for _ in read_records(path)) if path.exists() else 0
        for name, path in paths.items()
    }
    with beside(companions, stderr=view.terminal.stderr if view else None):
        finished, source = _run(graphs, params_file, view)
    if not finished and source is not None and source.total is not None:
        raise KeyboardInterrupt
    rows = {
        name: list(islice(read_records(path), before[name], None)) for name, path in paths.items()
    }
    has_end = finished and source is not None and ends(options.source)
    summary = summarise(rows, source.sent if source is not None and has_end else None)
    for name, path in paths.items():
        summary['models'][name]['results'] = str(path)
    return {**summary, 'earlier_results': [str(path) for path in earlier]}


def _run(
    graphs: Sequence[tuple[InspectOptions, Sequence[NodeSpec]]],
    params_file: str,
    view: LiveView | None,
) -> tuple[bool, ImageSource | None]:
    """Whether the run came to its end, and what sent its images."""
    init([])
    try:
        with progress_bars(view.terminal if view else None, view) as progress:
            progress('starting', 0, 1)
            nodes = _create_all(graphs, params_file, view)
            progress('starting', 1, 1)
            source = next((node for node in nodes if isinstance(node, ImageSource)), None)

            def look() -> None:
                if source is not None:
                    progress('inspecting', source.recorded, source.total)

            return run(nodes, on_look=look), source
    finally:
        end()


def result_paths(inspections: Sequence[InspectOptions]) -> dict[str, Path]:
    """The result file of each model, by its name, or by namespace and name."""
    is_one = len(inspections) == 1
    return {
        _shown_name(one, model, is_one=is_one): results_path(
            user_path(one.output_dir, 'output_dir'), model
        )
        for one in inspections
        for model in model_names(one)
    }


def _shown_name(inspection: InspectOptions, model: str, *, is_one: bool) -> str:
    """What a model is called in an inspection, of one camera or of several."""
    return model if is_one else f'{inspection.namespace.strip("/")}/{model}'


def main() -> int:
    """Run the inspection that the words ``--name=value`` of the command line describe."""
    environment.end_with_parent()

    def work() -> None:
        words = [word.partition('=') for word in remove_ros_args(sys.argv)[1:]]
        texts = {name.removeprefix('--'): text for name, _, text in words}
        check_known(list(texts), [spec.name for spec in options_of(InspectOptions)], 'option')
        inspect(from_texts(InspectOptions, texts))

    return reported(work)


def _create_all(
    graphs: Sequence[tuple[InspectOptions, Sequence[NodeSpec]]],
    params_file: str,
    view: LiveView | None = None,
) -> list[AdetNode]:
    nodes: list[AdetNode] = []
    # The first detector of each model has the weights for the others.
    first: dict[str, DetectorNode] = {}
    try:
        for options, specs in graphs:
            has_source = any(spec.executable == 'image_source' for spec in specs)
            hand_over = HandOver(images=has_source)
            for spec in specs:
                node = _create(
                    spec, options.namespace, params_file, hand_over, first.get(spec.name)
                )
                nodes.append(node)
                if isinstance(node, CsvRecorder) and view is not None:
                    node.on_row = partial(_tell, view, options, is_one=len(graphs) == 1)
                if isinstance(node, DetectorNode):
                    first.setdefault(spec.name, node)
    except BaseException:
        for node in nodes:
            node.stop()
        raise
    return nodes


def _tell(view: LiveView, inspection: InspectOptions, row: Record, *, is_one: bool) -> None:
    view.add(_shown_name(inspection, row.model, is_one=is_one), row)


def _create(
    spec: NodeSpec,
    namespace: str,
    params_file: str,
    hand_over: HandOver,
    beside: DetectorNode | None = None,
) -> AdetNode:
    # By words, as `ros2 launch` does it: what a file says goes before them, but not before what
    # rclpy is given as overrides. JSON is YAML, which is what is read there.
    words = [
        *(word for old, new in spec.remappings for word in ('-r', f'{old}:={new}')),
        *(
            word
            for name, value in spec.parameters.items()
            for word in ('-p', f'{name}:={json.dumps(value, ensure_ascii=False)}')
        ),
        *(['--params-file', params_file] if params_file else []),
    ]
    options: dict[str, Any] = {'namespace': namespace, 'cli_args': ['--ros-args', *words]}
    if spec.executable == 'csv_recorder':
        return CsvRecorder(hand_over=hand_over, **options)
    if spec.executable == 'image_source':
        return ImageSource(hand_over=hand_over, **options)
    return DetectorNode(spec.parameters['model'], hand_over=hand_over, beside=beside, **options)
