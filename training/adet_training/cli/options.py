# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Options that ``adet train`` and ``adet tune`` share, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from adet_core.cli.arguments import add_max_megapixels, add_model, add_models_root, count

if TYPE_CHECKING:
    from adet_core.progress import ProgressCallback
    from adet_training.train import TrainConfig


def add_training(parser: argparse.ArgumentParser) -> None:
    """Declare what to train on."""
    add_model(parser)
    parser.add_argument(
        '--category', required=True, metavar='C', help='folder under train/ and test/'
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        default=Path('data'),
        metavar='DIR',
        help='holds train/ and test/ (default: %(default)s)',
    )
    add_models_root(parser)
    add_backbone_weights(parser)
    parser.add_argument(
        '--parameters',
        type=Path,
        metavar='FILE',
        help='YAML file of hyper-parameters, e.g. param/best_params.yaml of a run',
    )
    parser.add_argument(
        '--set',
        action=_Set,
        default=[],
        metavar='KEY=VALUE',
        help='a hyper-parameter, e.g. --set image_size=320; may be repeated; --set help lists '
        'those of the model named before it',
    )
    parser.add_argument(
        '--roi',
        default='',
        metavar='X,Y,W,H|FILE',
        help='what is inspected: a rectangle in pixels, a JSON file of polygons, or a mask image '
        '(default: train/C.roi.json or .roi.png, else the whole image)',
    )
    add_seed(parser)
    add_max_megapixels(parser)


class _Set(argparse._AppendAction):  # noqa: SLF001 - the class has no other name
    """Collects ``KEY=VALUE``; ``help`` lists the hyper-parameters of the model and ends."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """See `argparse.Action`."""
        if values != 'help':
            super().__call__(parser, namespace, values, option_string)
            return
        from adet_training.cli import models

        models.show(models.run(argparse.Namespace(model=namespace.model)))
        parser.exit()


def add_backbone_weights(parser: argparse.ArgumentParser) -> None:
    """Declare ``--backbone-weights``."""
    parser.add_argument(
        '--backbone-weights',
        default='auto',
        metavar='auto|imagenet|random|FILE',
        help='where the feature extractor comes from (default: %(default)s: the model hub, or an '
        'installed package where the hub does not answer)',
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Declare ``--seed``."""
    parser.add_argument(
        '--seed', type=count, default=0, metavar='S', help='random seed (default: %(default)s)'
    )


def settings_of(arguments: argparse.Namespace, *, models: Sequence[str] = ()) -> dict[str, Any]:
    """The hyper-parameters given; what is wrong so far is said before torch is imported.

    Args:
        arguments: The options.
        models: Names that are taken, too, beside those of models.

    Raises:
        adet_core.errors.ConfigError: The model is unknown, or a setting cannot be read.
        adet_core.errors.DatasetError: There are no images of the category.
    """
    from adet_training.category import list_category
    from adet_training.models import check_model
    from adet_training.parameters import parse_settings, read_settings

    if arguments.model not in models:
        check_model(arguments.model)
    read = read_settings(arguments.parameters) if arguments.parameters else {}
    settings = {**read, **parse_settings(arguments.set)}
    list_category(arguments.data_root, arguments.category)
    return settings


def training_config(arguments: argparse.Namespace, settings: dict[str, Any]) -> TrainConfig:
    """What the options ask for; imports torch."""
    from adet_training.train import TrainConfig

    return TrainConfig(
        model=arguments.model,
        category=arguments.category,
        data_root=arguments.data_root,
        models_root=arguments.models_root,
        backbone_weights=arguments.backbone_weights,
        settings=settings,
        seed=arguments.seed,
        roi=arguments.roi,
    )


def chosen_config(
    arguments: argparse.Namespace,
    settings: dict[str, Any],
    progress: ProgressCallback,
    *,
    cost_of: str = '',
) -> TrainConfig:
    """`training_config` after a look at the images: says what suits them, on standard error.

    Args:
        arguments: Of the command.
        settings: Hyper-parameters that differ from their defaults.
        progress: Told the progress.
        cost_of: The model whose costs are told, where several will be trained.

    Raises:
        adet_core.errors.ConfigError: A setting cannot be used.
    """
    from adet_training.choose import choose

    asked = training_config(arguments, settings)
    if cost_of:
        asked = replace(asked, model=cost_of)
    proposal, config = choose(asked, progress=progress)
    if proposal and cost_of:
        print(f'for all models; the costs are those of {cost_of}:', file=sys.stderr)
    for line in proposal.lines() if proposal else ():
        print(line, file=sys.stderr)
    return config
