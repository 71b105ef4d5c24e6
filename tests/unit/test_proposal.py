# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which size and tiles are proposed, from plain numbers."""

from __future__ import annotations

import pytest

from adet_training.proposal import Cost, Facts, OFF, Proposal, propose, SHIFT, TURN

COST = Cost(ms=40, mib=100)


def facts(width: int, height: int, *defects: float, align: str = OFF) -> Facts:
    return Facts(width=width, height=height, defects=defects, align=align)


def test_small_and_square_images_stay_as_they_were() -> None:
    for width, height in ((256, 256), (300, 300), (1024, 1024), (1000, 900)):
        chosen = propose(facts(width, height), COST).chosen
        assert (chosen.image_size, chosen.tiles, chosen.inputs) == ((256, 256), 0, 1)
        assert chosen.settings() == {'image_size': 256}


def test_long_images_keep_their_proportions_at_the_usual_cost() -> None:
    chosen = propose(facts(1036, 348), COST).chosen
    assert chosen.image_size == (448, 160)
    assert chosen.settings() == {'image_size': '448x160'}
    assert chosen.ms == pytest.approx(40 * 448 * 160 / 65536)
    # 16 to 1: no longer squeezed.
    width, height = propose(facts(4096, 256), COST).chosen.image_size
    assert width / height == 16


@pytest.mark.parametrize(
    ('extent', 'image_size', 'tiles', 'inputs'),
    [
        (70, (288, 224), 0, 1),
        (30, (576, 448), 0, 1),
        (16, (256, 256), 512, 20),
        (8, (256, 256), 256, 63),
        (3, (256, 256), 256, 63),
    ],
)
def test_the_cheapest_option_that_shows_the_defects_is_chosen(
    extent: float, image_size: tuple[int, int], tiles: int, inputs: int
) -> None:
    found = propose(facts(2048, 1536, *[extent] * 9, 500), COST)
    chosen = found.chosen
    assert (chosen.image_size, chosen.tiles, chosen.inputs) == (image_size, tiles, inputs)
    assert ('no option shows' in found.reason) == (extent == 3)
    expected = {'tiles': tiles, 'overlap': 0.125} if tiles else {}
    assert expected.items() <= found.settings().items()
    assert ('tiles' in found.settings()) == bool(tiles)


def test_one_tiny_defect_among_many_decides_nothing() -> None:
    assert propose(facts(2048, 1536, 2, *[200] * 19), COST).chosen.tiles == 0


@pytest.mark.parametrize(
    ('extents', 'suits'),
    [
        ([8] * 20, True),
        ([8] * 19 + [200], True),
        # In the tiles these are longer than 16 pixels of the graph's input.
        ([8] * 10 + [17] * 10, False),
        # At half scale they are not.
        ([16] * 10 + [32] * 10, True),
        ([8] * 17 + [200] * 3, False),
        ([], False),
    ],
)
def test_only_where_all_defects_are_tiny_the_model_has_settings_for_them(
    extents: list[float], suits: bool
) -> None:
    cost = Cost(ms=40, mib=100, for_tiny={'patch_size': 1})
    found = propose(facts(2048, 1536, *extents), cost)
    assert ('patch_size' in found.settings()) == suits
    assert ('patch_size=1 suits' in found.reason) == suits
    assert list(found.lines())[-1].endswith(' --set patch_size=1') == suits
    assert 'patch_size' not in propose(facts(2048, 1536, *extents), COST).settings()


def test_images_of_several_shapes_get_no_tiles() -> None:
    several = Facts(width=3000, height=1000, has_one_shape=False, defects=(8.0,))
    found = propose(several, COST)
    assert [option.tiles for option in found.options] == [0, 0]
    assert found.chosen.image_size == (512, 512)


def test_what_lies_anywhere_is_aligned() -> None:
    for align in (SHIFT, TURN):
        found = propose(facts(500, 480, align=align), COST)
        assert found.settings() == {'image_size': 256, 'align': align}
        assert 'aligned first' in found.reason


def test_costs_follow_the_pixels_and_the_tiles() -> None:
    cost = Cost(ms=10, mib=50, mib_of_input=20, mib_of_work=30)
    tiled = propose(facts(2048, 1536, 8), cost).chosen
    assert tiled.ms == pytest.approx(10 * 63)
    # Two tiles run at once after one alone, share what was learned, and their map is joined.
    assert tiled.mib == pytest.approx(50 + 20 + 3 * 30 + 30 * 2048 * 1536 / 2**20)
    half = propose(facts(2048, 1536, 16), cost).chosen
    assert half.mib == pytest.approx(50 + 20 + 3 * 30 + 30 * 1024 * 768 / 2**20)
    whole = propose(facts(2048, 1536, 30), cost).chosen
    assert whole.mib == pytest.approx(50 + 50 * 576 * 448 / 65536)
    costs = [option.ms for option in propose(facts(2048, 1536), cost).options]
    assert costs == sorted(costs)


def test_a_model_has_its_own_sizes() -> None:
    small = propose(facts(2048, 1536), Cost(ms=1, edge=128)).options
    assert {option.image_size for option in small} >= {(128, 128), (160, 96)}
    large = propose(facts(1036, 348), Cost(ms=1, least_edge=256)).chosen
    assert large.image_size == (768, 256)


def test_the_table_shows_every_option_and_how_to_take_it() -> None:
    found = propose(facts(2048, 1536, 8), COST)
    assert isinstance(found, Proposal)
    lines = list(found.lines())
    assert len(lines) == 1 + len(found.options) + 2
    marked = [line for line in lines if line.startswith('->')]
    assert len(marked) == 1
    assert marked[0].split()[-7:] == ['63', '8', 'px', '2520', 'ms,', '190', 'MiB']
    assert lines[-1].endswith(
        '--set tiles=auto, or --set image_size=256 --set tiles=256 --set overlap=0.125'
    )
    compared = propose(facts(2048, 1536, 8), Cost(ms=1, is_measured=False))
    assert next(line for line in compared.lines() if 'full' in line).endswith('64.0 x the time')
