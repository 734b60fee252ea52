"""Tasks on this machine: each is done once, in as few processes as pay, and whatever happens to them is said."""

import itertools
import logging
import multiprocessing
import os
from concurrent.futures import Future
from functools import partial
from operator import itemgetter
from pathlib import Path

import pytest
from tasks import die_at, fail_at, square

from wakeword_core.cores import map_in_threads
from wakeword_core.errors import ChangedRecordingError, ClusterError, ConfigError, DataError, WakewordError
from wakeword_core.workers import cluster
from wakeword_core.workers.base import WORTH_SECONDS
from wakeword_core.workers.cluster import connect
from wakeword_core.workers.local import THIS_MACHINE, LocalWorkers
from wakeword_core.workers.tasks import Expected


@pytest.fixture
def workers():
    yield LocalWorkers(2)
    assert multiprocessing.active_children() == []


def test_every_task_is_done_once_by_two_processes_whose_log_comes_back(workers, caplog):
    caplog.set_level(logging.DEBUG, "wakeword_core")
    done = list(workers.map_unordered(square, iter(range(40)), str))
    assert sorted((task, result[0]) for task, result in done) == [(number, number**2) for number in range(40)]
    assert 1 <= len({pid for _, (_, pid) in done} - {os.getpid()}) <= 2
    assert sorted(caplog.messages) == sorted(f"squaring {number}" for number in range(40))


@pytest.mark.parametrize(
    ("several", "options"),
    [
        (LocalWorkers(2), {"seconds": WORTH_SECONDS / 2}),
        (LocalWorkers(2), {"here": "threads"}),
        (LocalWorkers(2), {"here": "in turn"}),
        (LocalWorkers(1), {}),
    ],
    ids=["little work", "threads", "in turn", "one core"],
)
def test_what_does_not_pay_in_other_processes_is_done_in_this_one(several, options):
    done = dict(several.map_unordered(square, range(20), str, **options))
    assert done == {number: (number**2, os.getpid()) for number in range(20)}


def test_only_a_few_tasks_are_taken_ahead_and_none_after_the_caller_left(workers):
    tasks = itertools.count()
    results = workers.map_unordered(square, tasks, str)
    next(results)
    results.close()
    assert next(tasks) <= 6


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (1, DataError, "^it is odd$"),
        (2, ChangedRecordingError, r"^robin: its bytes changed"),
        (3, WakewordError, r"^3: an unexpected error in .*: KeyError: 'mine'; please report it"),
    ],
)
def test_what_a_task_raises_is_raised_here_with_what_it_logged(workers, caplog, wrong, error, said):
    with pytest.raises(error, match=said) as raised:
        list(workers.map_unordered(partial(fail_at, wrong), range(1, 40), str))
    assert getattr(raised.value, "path", "/r/robin.wav") == "/r/robin.wav"
    assert f"looking at {wrong}" in caplog.messages


def test_what_a_worker_died_of_is_done_again_and_nothing_twice(workers, tmp_path, caplog):
    done = list(workers.map_unordered(partial(die_at, tmp_path, {3: 1, 9: 1}), range(12), lambda n: f"number {n}"))
    assert sorted(map(itemgetter(1), done)) == list(range(12))
    assert "number 3: its process died" in caplog.text and "it is done again" in caplog.text


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_task_that_kills_every_worker_is_named_and_the_others_before_it_are_done(tmp_path, retries):
    workers, done = LocalWorkers(2, retries), []
    with pytest.raises(WakewordError, match=r"^number 5: a worker died of it, also with nothing beside it \(its proc"):
        for number, _ in workers.map_unordered(partial(die_at, tmp_path, {5: 99}), range(40), lambda n: f"number {n}"):
            done.append(number)
    assert len(list(tmp_path.glob("5.*"))) == 2 + retries and 5 not in done
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_yield_every_result_and_pass_errors_on(threads):
    assert sorted(map_in_threads(lambda x: x * x, range(100), threads)) == [(x, x * x) for x in range(100)]
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda x: 1 // x, range(3), threads))


def test_on_a_server_no_configuration_names_a_cluster_of_strangers(monkeypatch):
    monkeypatch.setenv("WAKEWORD_DATA_ROOTS", "/srv")
    with pytest.raises(ConfigError, match=r"compute\.address is 10\.0\.0\.1:6379, but .*, only auto is allowed"):
        connect("10.0.0.1:6379")


def test_all_cores_are_used_unless_fewer_are_asked_for():
    assert THIS_MACHINE.cores == len(os.sched_getaffinity(0)) and LocalWorkers(3).cores == 3
    assert THIS_MACHINE.device("auto", lambda: "cuda") == "cuda" and not THIS_MACHINE.elsewhere


class StandInForRay:
    """As much of Ray as sends tasks of which none is ever done."""

    gcs_address = "127.0.0.1:1"

    def get_runtime_context(self):
        return self

    def remote(self, *_):
        return self

    def options(self, **_):
        return self

    def future(self):
        return Future()


def test_the_head_of_a_cluster_is_given_up_once_it_has_been_silent_for_long_and_not_after_long_work(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(cluster, "_answers", lambda address: False)
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])
    pool = cluster._Cluster(StandInForRay(), "cpu", Expected({}, Path()))
    for _ in range(2):  # tasks came back for an hour, so that nobody looked after the head
        now[0] += 3_600
        pool.check()
        pool.submit(square, 1, "one", alone=False)
    pool.check()
    now[0] += cluster._HEAD_SECONDS + 1
    with pytest.raises(ClusterError, match=r"the head of the Ray cluster, 127\.0\.0\.1:1, has not answered for 20 s"):
        pool.check()
