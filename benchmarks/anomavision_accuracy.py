# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Image AUROC of AnomaVision's default PaDiM, with ImageNet weights and adet's own images.

    pip install --no-deps anomavision
    python benchmarks/anomavision_accuracy.py --weights resnet18.pth --data-root data \
        --categories ELPV_mono MT_tile

It sees images of 256 x 256 pixels as adet's models do, and learns from all normal training images,
those too that adet keeps back for its threshold. Prints one line for each category.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anomavision_peer import default_padim
import numpy as np
import torch

from adet_core.image import preprocess, read_image
from adet_core.io.folders import LABELS, list_images
from adet_core.metrics import auroc
from adet_core.progress import progress_bars, ProgressCallback

_SIZE = (256, 256)
_MEAN = torch.tensor((0.485, 0.456, 0.406))[:, None, None]
_STD = torch.tensor((0.229, 0.224, 0.225))[:, None, None]


def main() -> None:
    """Learn, test and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', type=Path, required=True, help="timm's resnet18, ImageNet")
    parser.add_argument('--data-root', type=Path, required=True)
    parser.add_argument('--categories', nargs='+', required=True)
    arguments = parser.parse_args()
    weights = torch.load(arguments.weights, weights_only=True)
    with progress_bars() as progress:
        for category in arguments.categories:
            found = _learn_and_test(weights, arguments.data_root, category, progress)
            print(f'{category}: image AUROC {found:.3f}')


def _learn_and_test(
    weights: dict[str, torch.Tensor], root: Path, category: str, progress: ProgressCallback
) -> float:
    model = default_padim()
    # The fourth layer and the classifier, which it does not use, may be absent.
    missing = model.embeddings_extractor.backbone.load_state_dict(weights, strict=False)
    wrong = [name for name in missing.missing_keys if not name.startswith(('layer4', 'fc'))]
    if wrong or missing.unexpected_keys:
        raise SystemExit(f'no weights of resnet18: {(wrong + missing.unexpected_keys)[0]}')
    learned = list_images(root / 'train' / category)
    with torch.inference_mode():
        model.fit([_image(path) for path in learned])
        test = [list_images(root / 'test' / category / label) for label in LABELS]
        paths = [path for of_label in test for path in of_label]
        scores = []
        for number, path in enumerate(paths, start=1):
            scores.append(float(model.predict(_image(path))[0]))
            progress(f'{category}: testing', number, len(paths))
    is_anomalous = np.arange(len(paths)) >= len(test[0])
    found = auroc(np.array(scores, np.float32), is_anomalous)
    assert found is not None
    return found


def _image(path: Path) -> Any:
    """Float32 ``(1, 3, H, W)``, normalised."""
    pixels = torch.from_numpy(preprocess(read_image(path), _SIZE)).permute(2, 0, 1)
    return ((pixels / 255 - _MEAN) / _STD)[None]


if __name__ == '__main__':
    main()
