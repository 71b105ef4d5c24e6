# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A robot's part in a roll-out: poll, fetch, verify, load, report."""

from __future__ import annotations

from collections.abc import Mapping
import random

from adet_core.errors import AdetError, BundleError, ConfigError, describe, RejectedError
from adet_fleet.ddi import ArtifactSource, DdiClient, Deployment
from adet_fleet.fetch import fetch_release
from adet_fleet.install import Load, Robot
from adet_fleet.keys import TrustedKeys
from adet_fleet.release import RELEASE_FILE

_DEFAULT_S, _SHORTEST_S, _LONGEST_S = 300.0, 1.0, 86400.0


class Agent:
    """Does what a server asks for.

    Every step may be repeated after a crash: a release that is in service is not fetched again,
    and the server asks until it was told how a deployment ended.

    Attributes:
        message: What happened last, for people.
        failure: Why the server cannot be asked, or what was refused; empty if all is well.
    """

    def __init__(
        self,
        client: DdiClient,
        robot: Robot,
        keys: TrustedKeys,
        *,
        load: Load | None = None,
        config_data: Mapping[str, str] | None = None,
    ) -> None:
        """Begin without a network.

        Args:
            client: Of the server.
            robot: Whose bundles are replaced.
            keys: Who may publish.
            load: Lets the running detector take a bundle.
            config_data: What the server is told of this robot.
        """
        self._client, self._robot, self._keys = client, robot, keys
        self._load, self._config_data = load, dict(config_data or {})
        self.message, self.failure = 'nothing was asked for yet', ''

    def step(self) -> float:
        """Poll once and do what is asked for; returns the seconds until the next poll."""
        sleep_s: float | None = None
        try:
            poll = self._client.poll()
            sleep_s = poll.sleep_s
            self.failure = ''
            if poll.config_data:
                self._client.tell_config_data(poll.config_data, self._config_data)
            if poll.cancel:
                self._client.confirm_cancel(poll.cancel)
                self.message = 'a deployment was cancelled'
            elif poll.deployment:
                self._deploy(self._client.deployment(poll.deployment))
        except (AdetError, OSError) as error:
            self.failure = describe(error)
        wait = min(max(sleep_s or _DEFAULT_S, _SHORTEST_S), _LONGEST_S)
        # A fleet that was switched on together does not poll together.
        return wait * random.uniform(0.9, 1.0)  # noqa: S311

    def _deploy(self, deployment: Deployment) -> None:
        if not deployment.may_install:
            self.message = f'deployment {deployment.action_id} waits for the server'
            return
        action_id = deployment.action_id
        self._client.feedback(action_id, 'proceeding', 'none', ['fetching'])
        source = ArtifactSource(self._client, deployment)
        try:
            place = f'{RELEASE_FILE} of deployment {action_id}'
            release = fetch_release(source, RELEASE_FILE, self._keys, place)
            state = self._robot.install(source, release, load=self._load)
        # A StorageError is none of these: the network may be back at the next poll.
        except (RejectedError, BundleError, ConfigError) as error:
            self._refuse(action_id, error)
        else:
            self.message = f'bundle {state.bundle_id} is in service: {state.message}'
            self._client.feedback(action_id, 'closed', 'success', [self.message])

    def _refuse(self, action_id: str, error: AdetError) -> None:
        self.message = f'deployment {action_id} failed: {describe(error)}'
        self._client.feedback(action_id, 'closed', 'failure', [describe(error)])
        self.failure = self.message
