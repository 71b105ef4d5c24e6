# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where jobs run: threads of this process, each of which waits for a child, or Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from adet_core.errors import AdetError, ConfigError
from adet_training.batch.execute import JobError, run_job
from adet_training.batch.jobs import Job


class Ended(NamedTuple):
    """A job that has ended.

    Attributes:
        job: Which.
        result: What it gave; None if it failed.
        error: Why it failed; empty if it did not.
        may_work_later: Whether it may be run again.
    """

    job: Job
    result: dict[str, Any] | None
    error: str = ''
    may_work_later: bool = False


Pool = Callable[[Sequence[Job], int], Iterator[Ended]]
"""Takes jobs and how often each is run again; yields them as they end."""


def on_this_machine(jobs: Sequence[Job], retries: int, *, workers: int = 1) -> Iterator[Ended]:
    """Run jobs here, at most ``workers`` at once."""
    with ThreadPoolExecutor(workers, 'adet-batch') as threads:
        running: dict[Future[Ended], Job] = {
            threads.submit(_again_and_again, job, retries): job for job in jobs
        }
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


def _again_and_again(job: Job, retries: int) -> Ended:
    ended = run_once(job)
    for _ in range(retries):
        if not ended.may_work_later:
            break
        ended = run_once(job)
    return ended


def run_once(job: Job) -> Ended:
    """Run a job; what it fails with is told, and not raised."""
    try:
        return Ended(job, run_job(job))
    except JobError as error:
        return Ended(job, None, str(error), not error.is_final)


def on_ray(
    jobs: Sequence[Job], retries: int, *, address: str = '', workers: int = 0
) -> Iterator[Ended]:
    """Run jobs as tasks of Ray; one whose worker or machine is lost is run again.

    Args:
        jobs: The jobs.
        retries: How often one is run again.
        address: Of a running cluster, ``auto`` or ``ray://HOST:10001``; empty: a new one here.
        workers: Cores of a new one; 0: all.

    Raises:
        ConfigError: Ray is not installed.
        AdetError: The cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        msg = f"adet batch without --local needs Ray ({error}): pip install 'adet-training[ray]'"
        raise ConfigError(msg) from None
    try:
        ray.init(
            # Without an address Ray would join any cluster that it finds here.
            address=address or 'local',
            num_cpus=None if address else workers or None,
            include_dashboard=False if not address else None,
            log_to_driver=False,
            logging_level='error',
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        msg = f'Ray at {address or "this machine"}: {error}'
        raise AdetError(msg) from None
    try:
        task = ray.remote(run_once)

        def submit(job: Job) -> Any:
            # Ray runs it again where its worker is lost; one that fails is handed back to us.
            resources = {'num_cpus': job.cpus, 'num_gpus': job.gpus}
            return task.options(name=job.name, max_retries=retries, **resources).remote(job)

        running = {submit(job): (job, retries) for job in jobs}
        while running:
            done, _ = ray.wait(list(running), num_returns=1)
            job, tries_left = running.pop(done[0])
            ended = _ended(ray, job, done[0])
            if ended.may_work_later and tries_left:
                running[submit(job)] = (job, tries_left - 1)
            else:
                yield ended
    finally:
        ray.shutdown()


def _ended(ray: Any, job: Job, reference: Any) -> Ended:
    try:
        ended: Ended = ray.get(reference)
    except ray.exceptions.RayError as error:
        # Its worker was lost more often than Ray runs it again.
        return Ended(job, None, str(error).strip().splitlines()[0])
    return ended
