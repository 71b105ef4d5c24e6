# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""goosebit with one roll-out for every target: the files of a folder, which another server gives.

    python goosebit_server.py PORT FOLDER URL

It cannot hold such files itself: it knows images of SWUpdate and RAUC alone.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
import sys
import tempfile
from typing import Any


def main(port: int, folder: Path, url: str) -> None:
    """Serve until killed."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ['GOOSEBIT_DB_URI'] = f'sqlite://{scratch}/db.sqlite3'
        os.environ['GOOSEBIT_ARTIFACTS_DIR'] = scratch
        os.environ['GOOSEBIT_POLL_TIME'] = '00:01:40'
        os.environ['GOOSEBIT_DEVICE_AUTH'] = '{"enable": true, "mode": "setup"}'
        from goosebit import app
        from goosebit.db.config import TORTOISE_CONF
        from goosebit.db.models import UpdateStateEnum
        from goosebit.device_manager import DeviceManager, HandlingType
        from goosebit.schema.updates import UpdateChunk, UpdateChunkArtifact
        from tortoise import Tortoise
        import uvicorn

        async def make_tables() -> None:
            await Tortoise.init(config=TORTOISE_CONF)
            await Tortoise.generate_schemas()
            await Tortoise.close_connections()

        async def roll_out(_: Any, device: Any) -> Any:
            if device.last_state == UpdateStateEnum.FINISHED:
                return HandlingType.SKIP, None
            artifacts = [
                UpdateChunkArtifact(
                    filename=path.name,
                    hashes={},
                    size=path.stat().st_size,
                    links={'download-http': {'href': f'{url}/{path.relative_to(folder)}'}},
                )
                for path in sorted(folder.rglob('*'))
                if path.is_file()
            ]
            return HandlingType.FORCED, UpdateChunk(name='plate', artifacts=artifacts)

        @app.get('/told/{target}')
        async def told(target: str) -> dict[str, Any]:
            device = await DeviceManager.get_device(target)
            return {
                'state': device.last_state.name,
                'log': device.last_log,
                'token': device.auth_token,
            }

        asyncio.run(make_tables())
        DeviceManager.add_update_source(roll_out)
        uvicorn.run(app, host='127.0.0.1', port=port, log_level='warning')


if __name__ == '__main__':
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
