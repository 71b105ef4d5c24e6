# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The operator's console: a web page that shows a running inspection, and acts on it.

It uses only what the graph offers to everybody: topics, parameters, services and the action. It
may be killed or run twice; the inspection does not notice.

`link` is the only module that imports ROS. No module imports torch.
"""
