# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet mark`` on a terminal: the last verdicts to choose from."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet.cli import mark
from adet.cli.mark import Verdict
from adet_core.errors import ConfigError

NOW = 1_795_788_000 * 10**9
VERDICTS = [Verdict(NOW, True, 3.25), Verdict(NOW - 10**9, False, 1.5)]


@pytest.mark.parametrize(('typed', 'chosen'), [('', 0), ('1', 0), (' 2 ', 1)])
def test_one_of_the_last_verdicts_is_chosen(
    typed: str,
    chosen: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr('builtins.input', lambda: typed)
    assert mark._ask(VERDICTS) == VERDICTS[chosen].stamp_ns
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith('anomalous  score 3.25')
    assert lines[1].endswith('normal     score 1.5')


@pytest.mark.parametrize('typed', ['3', '0', 'x', '-1'])
def test_what_is_none_of_them_is_refused(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('builtins.input', lambda: typed)
    with pytest.raises(ConfigError, match='is none of 1 to 2'):
        mark._ask(VERDICTS)


def test_nothing_to_choose_from_is_the_newest() -> None:
    assert mark._ask([]) == 0


def test_a_detector_repeats_what_it_said_last() -> None:
    from adet_interfaces.msg import AnomalyResult
    import rclpy

    from adet.conversions import to_header
    from adet.qos import every_frame

    node = rclpy.create_node('mark_test', namespace='/mark_test')
    try:
        publisher = node.create_publisher(AnomalyResult, 'padim/result', every_frame())
        for number in (1, 2):
            result = AnomalyResult(header=to_header(NOW + number, ''), score=float(number))
            publisher.publish(result)
        found = mark._last_verdicts(node, 'padim')
    finally:
        node.destroy_node()
    assert [(one.stamp_ns - NOW, one.score) for one in found] == [(2, 2.0), (1, 1.0)]
