# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Every error adet raises on purpose.

AdetError               root: its text is one line that says what is wrong and what to do
  BackendError          no usable inference backend, or a graph it cannot run
  BundleError           a bundle (or the engine made from it) is missing, damaged or foreign
  ConfigError           a parameter, option or file of settings has an impossible value
  DatasetError          a folder of images is missing, empty or arranged wrongly
    BagError            a rosbag cannot be read, or lacks the topic asked for
    ImageError        one image cannot be read, or has an encoding adet does not know
  ExportError           the exported graph does not agree with the trained model
  RecordError           a CSV of results cannot be read or continued
  RejectedError         what was retrained failed a check, and what was in service stays
"""


class AdetError(Exception):
    """Root of all deliberate errors; commands print it as ``error: <text>`` and exit with 1."""


class BackendError(AdetError):
    """No inference backend is usable, or the graph does not fit it."""


class BundleError(AdetError):
    """A bundle is missing, incomplete, damaged, of another model or of a newer schema."""


class ConfigError(AdetError):
    """A parameter or option has a value that cannot be used."""


class DatasetError(AdetError):
    """A folder of images is missing, empty or not arranged as expected."""


class BagError(DatasetError):
    """A rosbag cannot be read, or does not hold what was asked for."""


class ImageError(DatasetError):
    """One image cannot be decoded, or its encoding is not supported."""


class ExportError(AdetError):
    """An exported graph disagrees with the model that it was made from."""


class RecordError(AdetError):
    """A CSV of results is not one of adet's, or cannot be continued."""


class RejectedError(AdetError):
    """What was retrained is not good enough; what was in service before stays."""
