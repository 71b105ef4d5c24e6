# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``retrain_server``: relearning as an action, by a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from adet_interfaces.action import Retrain
from adet_interfaces.msg import RetrainFigures
from adet_interfaces.srv import LoadBundle
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from adet import runner
from adet.node import AdetNode
from adet.options import RetrainServerOptions
from adet_core.bundle import Bundle, open_bundle, rollback
from adet_core.errors import (
    AdetError,
    BundleError,
    ConfigError,
    DatasetError,
    describe,
    RejectedError,
)
from adet_core.io.folders import list_images
from adet_core.models.names import deployed_folder
from adet_core.paths import check_inside, user_path
from adet_core.retraining import MODES

ROLLBACK = 'rollback'
_LOOK_S = 0.02
_FEEDBACK_S = 0.1
_DETECTOR_S = 1.0
_SWAP_S = 120.0


@dataclass(frozen=True)
class _Job:
    """A goal that was found to make sense."""

    bundle: Bundle
    mode: str
    command: list[str]


class _Cancelled(Exception):  # noqa: N818 - not an error
    """Somebody cancelled the goal in time."""


class RetrainServer(AdetNode):
    """Runs one retraining at a time."""

    def __init__(self, **options: Any) -> None:
        """Offer the action.

        Raises:
            ConfigError: A parameter is wrong.
        """
        super().__init__('retrain_server', **options)
        self._options = self.declare(RetrainServerOptions)
        self._models_root = user_path(self._options.models_root, 'models_root')
        self._data_root = user_path(self._options.data_root, 'data_root')
        allowed = self._options.allowed_root
        self._allowed = user_path(allowed, 'allowed_root') if allowed else self._data_root
        self._busy = threading.Lock()
        # The three below belong together.
        self._state = threading.Lock()
        self._cancellable: Any = None
        self._child: subprocess.Popen[str] | None = None
        self._cancelled = False
        self._stopping = False
        self._threads: set[threading.Thread] = set()
        self._group = ReentrantCallbackGroup()
        self._server = ActionServer(
            self,
            Retrain,
            'retrain',
            self._execute,
            # A refused goal could not say why: it is taken, and aborted with the reason.
            goal_callback=lambda _: GoalResponse.ACCEPT,
            cancel_callback=self._on_cancel,
            callback_group=self._group,
        )

    def stop(self) -> None:
        """End a retraining that runs; what is in service stays."""
        self._stopping = True
        with self._state:
            self._cancel()
        for thread in list(self._threads):
            thread.join()

    def destroy_node(self) -> None:
        """Take the action away first."""
        self._server.destroy()
        super().destroy_node()

    async def _execute(self, handle: Any) -> Retrain.Result:
        executor = self.executor
        done: Any = Future(executor=executor)

        def work() -> None:
            try:
                done.set_result(self._work(handle))
            except Exception as error:  # noqa: BLE001 - handed to the caller below
                done.set_exception(error)
            # A waiting coroutine is only looked at when something wakes the executor.
            executor.wake()

        thread = threading.Thread(target=work, name='retrain', daemon=True)
        self._threads.add(thread)
        thread.start()
        try:
            result = await done
        except _Cancelled:
            result = Retrain.Result(message='cancelled; what was in service stays')
            handle.canceled()
        except Exception as error:  # noqa: BLE001 - whatever a goal meets, the server lives
            result = Retrain.Result(message=describe(error))
            handle.abort()
        else:
            handle.succeed()
        finally:
            self._threads.discard(thread)
        result.bundle_id = self._in_service(handle.request.model)
        # Apart: rclpy wants one severity of each line of code.
        if result.success:
            self.get_logger().info(result.message)
        else:
            self.get_logger().warning(result.message)
        return result

    def _on_cancel(self, handle: Any) -> CancelResponse:
        with self._state:
            if handle is not self._cancellable:
                # What it asked for is in service already, or it is being refused.
                return CancelResponse.REJECT
            self._cancel()
        return CancelResponse.ACCEPT

    def _cancel(self) -> None:
        """With the state held."""
        self._cancelled = True
        if self._child is not None:
            # At any instant: what it writes becomes visible in one step.
            self._child.kill()

    def _work(self, handle: Any) -> Retrain.Result:
        if not self._busy.acquire(blocking=False):
            msg = 'a retraining runs already; wait for it to end, or cancel it'
            raise ConfigError(msg)
        try:
            with self._state:
                self._cancellable, self._cancelled = handle, self._stopping
            job = self._check(handle.request)
            before = job.bundle.bundle_id
            if job.mode == ROLLBACK:
                self._pass_point_of_no_return()
                after = rollback(job.bundle.folder)
                result = Retrain.Result(success=True, message=f'{after.bundle_id} is back')
                result.threshold = after.manifest.image_threshold.value
            else:
                result = self._learn(handle, job)
            message = self._swap(handle, job, before)
        finally:
            self._cancellable = None
            self._busy.release()
        result.message = f'{result.message}; {message}'
        return result

    def _check(self, goal: Any) -> _Job:
        """Find out at once what cannot work."""
        mode = goal.mode or MODES[0]
        if mode not in (*MODES, ROLLBACK):
            msg = f'mode is {goal.mode!r}, expected one of: {", ".join((*MODES, ROLLBACK))}'
            raise ConfigError(msg)
        folder = deployed_folder(self._models_root, goal.model)
        bundle = open_bundle(folder, model=goal.model, in_service=True)
        if mode == ROLLBACK:
            return _Job(bundle, mode, [])
        category = bundle.manifest.category
        images = user_path(goal.images or self._data_root / 'train' / category, 'images')
        self._check_folder('images', images)
        words = ['--images', str(images)]
        tests = self._data_root / 'test' / category
        if goal.test_dir or tests.is_dir():
            tests = user_path(goal.test_dir or tests, 'test_dir')
            self._check_folder('test_dir', tests)
            words += ['--test-dir', str(tests)]
        if mode == MODES[0]:
            words.append('--incremental')
        words += [word for override in goal.overrides for word in ('--set', override)]
        words += ['--threads', str(self._options.threads), '--json', '--child']
        command = [sys.executable, '-m', 'adet_core', 'retrain', str(folder), *words]
        return _Job(bundle, mode, command)

    def _check_folder(self, name: str, folder: Path) -> None:
        check_inside([folder], self._allowed, name, 'allowed_root')
        if not folder.is_dir():
            msg = f'{folder}: no such folder; put images there, or name another as {name}'
            raise DatasetError(msg)
        # Links in it lead anywhere, too.
        check_inside(list_images(folder), self._allowed, name, 'allowed_root')

    def _learn(self, handle: Any, job: _Job) -> Retrain.Result:
        with tempfile.TemporaryFile('w+') as errors:
            child = subprocess.Popen(  # noqa: S603 - our own program, and no shell
                job.command,
                # Its end tells the child that this process is gone.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            os.setpriority(os.PRIO_PROCESS, child.pid, self._options.niceness)
            with self._state:
                self._child = child
                if self._cancelled:
                    # Before there was a child to kill.
                    self._cancel()
            try:
                answer = self._follow(handle, child)
                child.wait()
            finally:
                with self._state:
                    self._child = None
                child.kill()
                child.wait()
                for pipe in (child.stdin, child.stdout):
                    if pipe is not None:
                        pipe.close()
            errors.seek(0)
            told = errors.read().strip().splitlines()
        try:
            self._pass_point_of_no_return()
        except _Cancelled:
            self._undo(job)
            raise
        if child.returncode < 0:
            self._undo(job)
            msg = f'the retraining was killed by signal {-child.returncode}; is memory short?'
            raise BundleError(f'{msg} What was in service stays')
        if child.returncode or answer is None:
            reason = told[-1].removeprefix('error: ') if told else f'exit {child.returncode}'
            raise BundleError(reason)
        if not answer['success']:
            raise RejectedError(answer['message'])
        return Retrain.Result(
            success=True,
            message=answer['message'],
            images_used=answer['images_used'],
            threshold=answer['threshold'],
            before=_figures(answer['before']),
            after=_figures(answer['after']),
        )

    def _pass_point_of_no_return(self) -> None:
        with self._state:
            if self._cancelled:
                raise _Cancelled
            self._cancellable = None

    def _follow(self, handle: Any, child: subprocess.Popen[str]) -> dict[str, Any] | None:
        """Pass the child's progress on; returns its result, if it came to one."""
        assert child.stdout is not None
        told, stage = 0.0, ''
        for line in child.stdout:
            try:
                news = json.loads(line)
            except ValueError:
                # Half a line of a child that was killed.
                return None
            if 'stage' not in news:
                answer: dict[str, Any] = news
                return answer
            done, total = news['done'], news['total']
            now = time.monotonic()
            if news['stage'] != stage or done == total or now - told >= _FEEDBACK_S:
                told, stage = now, news['stage']
                self._tell(handle, stage, done, total)
        return None

    def _tell(self, handle: Any, stage: str, done: int, total: int | None) -> None:
        progress = done / total if total else 0.0
        detail = f'{done} of {total}' if total else str(done)
        feedback = Retrain.Feedback(stage=stage, progress=progress, detail=detail)
        if handle.is_active:
            handle.publish_feedback(feedback)

    def _undo(self, job: _Job) -> None:
        """Undo what a child that was stopped had just put into service."""
        if open_bundle(job.bundle.folder, in_service=True).bundle_id != job.bundle.bundle_id:
            rollback(job.bundle.folder, job.bundle.bundle_id)

    def _swap(self, handle: Any, job: _Job, before: str) -> str:
        """Let the running detector, if there is one, take what is in service now."""
        folder, model = job.bundle.folder, job.bundle.manifest.model
        self._tell(handle, 'swap', 0, 1)
        client = self.create_client(LoadBundle, f'{model}/load_bundle', callback_group=self._group)
        try:
            if not client.wait_for_service(_DETECTOR_S):
                return f'no {model} detector runs; it is in service from its next start on'
            future = client.call_async(LoadBundle.Request(folder=str(folder.resolve())))
            deadline = time.monotonic() + _SWAP_S
            while not future.done():
                if not client.service_is_ready():
                    return (
                        f'the {model} detector went away; it is in service from its next start on'
                    )
                if self._stopping or time.monotonic() > deadline:
                    msg = f'the {model} detector did not answer; call {model}/load_bundle'
                    raise BundleError(msg)
                time.sleep(_LOOK_S)
            answer = future.result()
        finally:
            self.destroy_client(client)
        if not answer.success:
            refused = open_bundle(folder, in_service=True).bundle_id
            rollback(folder, before)
            msg = f'the detector refuses {refused} ({answer.message}); {before} stays in service'
            raise RejectedError(msg)
        self._tell(handle, 'swap', 1, 1)
        return f'the {model} detector inspects with {answer.bundle_id}'

    def _in_service(self, model: str) -> str:
        try:
            folder = deployed_folder(self._models_root, model)
            return open_bundle(folder, in_service=True).bundle_id
        except AdetError:
            return ''


def _figures(values: dict[str, Any]) -> RetrainFigures:
    auroc = values.pop('image_auroc')
    return RetrainFigures(image_auroc=math.nan if auroc is None else auroc, **values)


def main() -> int:
    """Run the node."""
    return runner.main(RetrainServer)


if __name__ == '__main__':
    sys.exit(main())
