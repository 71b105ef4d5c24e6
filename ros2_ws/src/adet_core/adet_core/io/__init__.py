# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images in: folders, videos, cameras, masks, and the images that an operator marked."""
