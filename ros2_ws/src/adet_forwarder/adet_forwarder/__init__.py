# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Results for the factory: each row of the result files, over MQTT, webhook or OPC UA.

The result files are the source: whatever was recorded is delivered at least once, also what was
recorded while nobody forwarded. Each output has a thread and a queue on the disk of its own, so
one that cannot be reached holds no other up.

`node` is the only module that imports ROS. Libraries of an output are imported by that output
alone, when it is configured.
"""
