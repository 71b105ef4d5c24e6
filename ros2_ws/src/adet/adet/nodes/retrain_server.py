# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``retrain_server``: relearning as an action, by a process of its own."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from adet_interfaces.action import Retrain
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from adet import runner
from adet.diagnostics import Diagnostics, Health
from adet.loading import category_in_service, load_into_detector
from adet.node import AdetNode
from adet.options import RetrainServerOptions
from adet.retrain_conversions import to_goal, to_retrain_result
from adet_core.bundle import open_bundle
from adet_core.deployed import only_folder
from adet_core.errors import AdetError, ConfigError, describe, RejectedError
from adet_core.image import set_max_megapixels
from adet_core.paths import user_path
from adet_core.retraining.child import CancelledError, Job, Places, RetrainProcess
from adet_core.retraining.worker import Worker

_FEEDBACK_S = 0.1
_IDLE = 'idle'


class RetrainServer(AdetNode):
    """Runs one retraining at a time."""

    def __init__(self, **options: Any) -> None:
        """Offer the action.

        Raises:
            ConfigError: A parameter is wrong.
        """
        super().__init__('retrain_server', **options)
        self._options = chosen = self.declare(RetrainServerOptions)
        # The retraining, a process of its own, inherits it.
        set_max_megapixels(chosen.max_megapixels)
        data_root = user_path(chosen.data_root, 'data_root')
        allowed = chosen.allowed_root
        self._places = Places(
            user_path(chosen.models_root, 'models_root'),
            data_root,
            user_path(allowed, 'allowed_root') if allowed else data_root,
        )
        self._worker = Worker(niceness=chosen.niceness, idle_s=chosen.idle_s)
        self._busy = threading.Lock()
        # The one that runs, and its goal.
        self._running: tuple[Any, RetrainProcess] | None = None
        self._stopping = False
        self._stage, self._failure = _IDLE, ''
        self._goals = self._succeeded = 0
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
        self._diagnostics = Diagnostics(
            self, 'retraining', self._health, str(self._places.models_root)
        )

    def stop(self) -> None:
        """End a retraining that runs; what is in service stays."""
        self._stopping = True
        if running := self._running:
            running[1].cancel()
        for thread in list(self._threads):
            thread.join()
        self._worker.close()

    def destroy_node(self) -> None:
        """Take the action away first."""
        self._server.destroy()
        super().destroy_node()

    async def _execute(self, handle: Any) -> Retrain.Result:
        executor = self.executor
        done: Any = Future(executor=executor)
        process = self._process(handle.request)

        def work() -> None:
            try:
                done.set_result(self._work(handle, process))
            except Exception as error:  # noqa: BLE001 - handed to the caller below
                done.set_exception(error)
                # Where the node is stopping, nobody comes to take it, which rclpy would tell.
                done.exception()
            # A waiting coroutine is only looked at when something wakes the executor.
            executor.wake()

        thread = threading.Thread(target=work, name='retrain', daemon=True)
        self._threads.add(thread)
        thread.start()
        try:
            result = await done
        except CancelledError:
            result = Retrain.Result(message='cancelled; what was in service stays')
            handle.canceled()
        except Exception as error:  # noqa: BLE001 - whatever a goal meets, the server lives
            result = Retrain.Result(message=describe(error))
            handle.abort()
        else:
            handle.succeed()
        finally:
            self._threads.discard(thread)
        result.bundle_id = self._in_service(process, handle.request.model)
        self._note(result)
        return result

    def _note(self, result: Retrain.Result) -> None:
        self._goals += 1
        self._succeeded += result.success
        self._failure = '' if result.success else result.message
        # Apart: rclpy wants one severity of each line of code.
        if result.success:
            self.get_logger().info(result.message)
        else:
            self.get_logger().warning(result.message)

    def _on_cancel(self, handle: Any) -> CancelResponse:
        running = self._running
        # Else what it asked for is in service already, or it is being refused.
        in_time = running is not None and running[0] is handle and running[1].cancel()
        return CancelResponse.ACCEPT if in_time else CancelResponse.REJECT

    def _process(self, request: Retrain.Goal) -> RetrainProcess:
        def current() -> str:
            return category_in_service(
                self, request.model, group=self._group, is_stopping=lambda: self._stopping
            )

        return RetrainProcess(
            to_goal(request),
            self._places,
            current=current,
            threads=self._options.threads,
            worker=self._worker,
        )

    def _work(self, handle: Any, process: RetrainProcess) -> Retrain.Result:
        if not self._busy.acquire(blocking=False):
            msg = 'a retraining runs already; wait for it to end, or cancel it'
            raise ConfigError(msg)
        try:
            self._running = handle, process
            if self._stopping:
                process.cancel()
            result = to_retrain_result(process.run(_Feedback(self, handle)))
            assert process.job is not None
            message, refusal = self._swap(handle, process.job)
            if refusal:
                raise RejectedError(process.rollback(refusal))
        finally:
            self._running, self._stage = None, _IDLE
            self._busy.release()
        result.message = f'{result.message}; {message}'
        return result

    def tell(self, handle: Any, stage: str, done: int, total: int | None) -> None:
        """Send a goal's feedback, and remember its stage for the diagnostics."""
        self._stage = stage
        progress = done / total if total else 0.0
        detail = f'{done} of {total}' if total else str(done)
        feedback = Retrain.Feedback(stage=stage, progress=progress, detail=detail)
        # The context ends under a thread's feet when the process is told to stop.
        if handle.is_active and self.context.ok():
            handle.publish_feedback(feedback)

    def _swap(self, handle: Any, job: Job) -> tuple[str, str]:
        """Let the running detector, if there is one, take what is in service now.

        Returns:
            What the detector does, and why it refuses.
        """
        self.tell(handle, 'swap', 0, 1)
        message, refusal = load_into_detector(
            self,
            job.bundle.manifest.model,
            job.folder,
            group=self._group,
            is_stopping=lambda: self._stopping,
        )
        if not refusal:
            self.tell(handle, 'swap', 1, 1)
        return message, refusal

    def _in_service(self, process: RetrainProcess, model: str) -> str:
        job = process.job
        try:
            if job is None:
                folder = only_folder(self._places.models_root, model)
            else:
                folder = job.folder if job.folder.is_dir() else job.bundle.folder
            return open_bundle(folder, in_service=True).bundle_id
        except AdetError:
            return ''

    def _health(self) -> Health:
        problem = f'the last goal failed: {self._failure}' if self._failure else ''
        values = {'goals': self._goals, 'succeeded': self._succeeded, 'stage': self._stage}
        return Health(problem, values)


class _Feedback:
    """Progress of a child, told a client a few times a second."""

    def __init__(self, server: RetrainServer, handle: Any) -> None:
        self._server, self._handle = server, handle
        self._told, self._stage = 0.0, ''

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage != self._stage or done == total or now - self._told >= _FEEDBACK_S:
            self._told, self._stage = now, stage
            self._server.tell(self._handle, stage, done, total)


def main() -> int:
    """Run the node."""
    return runner.main(RetrainServer)


if __name__ == '__main__':
    sys.exit(main())
