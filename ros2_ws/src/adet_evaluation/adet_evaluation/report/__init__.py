# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation: one HTML file, the same as JSON, and a table for a terminal."""

from adet_evaluation.report.data import to_dict
from adet_evaluation.report.page import HTML_FILE, JSON_FILE, write_report
from adet_evaluation.report.table import figure_rows

__all__ = ['HTML_FILE', 'JSON_FILE', 'figure_rows', 'to_dict', 'write_report']
