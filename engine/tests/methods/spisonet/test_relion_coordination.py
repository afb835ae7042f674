"""The two halves of an iteration: one works, the other waits; nothing left over is believed."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cryodl.errors import ResourceError
from cryodl.methods.spisonet.relion.coordination import Meeting, WorkerFailedError
from cryodl.methods.spisonet.relion.processes import parent_watch, process_start


@pytest.fixture
def shared(tmp_path):
    for half in (1, 2):
        (tmp_path / f"in{half}").write_text(f"inputs {half}")
    return tmp_path / "run_it007"


def meet(shared, half, **more):
    def fingerprint(of):
        path = shared.parent / f"in{of}"
        return f"{path.stat().st_mtime_ns}" if path.exists() else ""

    more = {"stale_seconds": 30.0, "timeout_seconds": 20.0, "heartbeat_seconds": 0.1, **more}
    return Meeting(shared, half, fingerprint, **more)


def result(shared, half=2):
    path = shared.parent / f"half{half}.mrc"
    path.write_bytes(b"map")
    return {"results": {str(half): {"file": path.name, "bytes": 3}}}


def files(shared):
    return sorted(p.name.split(".", 1)[1] for p in shared.parent.glob("*_spisonet.*"))


class Thread(threading.Thread):
    """A thread whose outcome can be asked for."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.value, self.error = work, None, None
        self.start()

    def run(self):
        try:
            self.value = self.work()
        except Exception as error:
            self.error = error

    def done(self, seconds=10.0):
        self.join(seconds)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.value


def test_first_works_and_second_gets_its_result(shared):
    first, second = meet(shared, 1), meet(shared, 2)
    assert first.enter() is None
    with first.working():
        waiting = Thread(second.enter)
        assert first.partner_is_here(5)
        assert waiting.is_alive()
        first.publish(result(shared))
    outcome = waiting.done()
    assert outcome.record["results"]["2"]["file"] == "half2.mrc" and not outcome.alone
    second.leave(finished=True)
    assert files(shared) == []


def test_only_one_of_many_gets_the_lock(shared):
    meetings = [meet(shared, 1 + i % 2, timeout_seconds=0.3) for i in range(8)]
    barrier = threading.Barrier(8)

    def enter(meeting):
        barrier.wait()
        try:
            return meeting.enter() is None
        except ResourceError:
            return False

    threads = [Thread(lambda m=m: enter(m)) for m in meetings]
    assert sum(thread.done() for thread in threads) == 1


def test_failing_worker_makes_the_waiter_fail_at_once(shared):
    first, second = meet(shared, 1), meet(shared, 2)
    assert first.enter() is None
    waiting = Thread(second.enter)
    with pytest.raises(ValueError, match="loss"), first.working():
        assert first.partner_is_here(5)
        started = time.monotonic()
        raise ValueError("loss is not finite")
    with pytest.raises(WorkerFailedError, match="half 1, which worked for both: loss is not fin"):
        waiting.done()
    assert time.monotonic() - started < 3
    # A partner that comes late learns it, too; the worker's own half may try again.
    with pytest.raises(WorkerFailedError):
        meet(shared, 2).enter()
    assert meet(shared, 1).enter() is None


def test_failure_on_a_full_disk_is_noticed_without_a_record(shared, monkeypatch):
    first, second = meet(shared, 1), meet(shared, 2)
    assert first.enter() is None
    waiting = Thread(second.enter)
    assert first.partner_is_here(5)

    def full(*_):
        raise ResourceError("disk full")

    monkeypatch.setattr("cryodl.methods.spisonet.relion.coordination.write_json", full)
    with pytest.raises(ResourceError), first.working():
        first.publish(result(shared))
    with pytest.raises(WorkerFailedError, match="ended without a result"):
        waiting.done()


@pytest.mark.parametrize("ending", ["result", "no record"])
@pytest.mark.parametrize("look", [1, 2])
def test_lock_given_back_just_after_a_look_is_not_taken(shared, monkeypatch, look, ending):
    """Between a look at the folder and the lock, the worker may end: its work is not redone."""
    first, second = meet(shared, 1), meet(shared, 2)
    assert first.enter() is None
    names, looks = second._names, []

    def looked():
        seen = names()
        looks.append(seen)
        if len(looks) == look:
            if ending == "result":
                first.publish(result(shared))
            else:
                first._unlock()
        return seen

    monkeypatch.setattr(second, "_names", looked)
    if ending == "result":
        assert second.enter().record["worker"] == 1
    else:
        with pytest.raises(WorkerFailedError, match="ended without a result"):
            second.enter()
    assert "lock" not in files(shared)


def test_result_published_before_the_lock_was_taken_counts(shared, monkeypatch):
    """The folder is listed entry by entry: a first look may miss the lock and the result."""
    first, second = meet(shared, 1), meet(shared, 2)
    assert first.enter() is None
    first.publish(result(shared))
    names, looks = second._names, []

    def looked():
        looks.append(names() if looks else set())
        return looks[-1]

    monkeypatch.setattr(second, "_names", looked)
    assert second.enter().record["worker"] == 1
    assert files(shared) == ["done"]


def test_sequential_halves_find_the_result_later(shared):
    first = meet(shared, 1)
    assert first.enter() is None
    with first.working():
        first.publish(result(shared))
    first.leave(finished=False)
    assert files(shared) == ["done"]
    assert meet(shared, 2).enter().record["worker"] == 1


def test_done_of_earlier_inputs_is_not_believed(shared):
    first = meet(shared, 1)
    assert first.enter() is None
    with first.working():
        first.publish(result(shared))
    os.utime(shared.parent / "in2", (1, 1))  # RELION wrote the iteration anew
    second = meet(shared, 2)
    assert second.enter() is None
    assert files(shared) == ["lock"]  # and what was left over is gone


def test_result_already_taken_is_made_again(shared):
    first = meet(shared, 1)
    assert first.enter() is None
    with first.working():
        first.publish(result(shared))
    (shared.parent / "half2.mrc").unlink()
    assert meet(shared, 2).enter() is None


def test_worker_alone_leaves_the_other_alone(shared):
    first = meet(shared, 1)
    assert first.enter() is None
    with first.working():
        assert not first.partner_is_here(0.2)
        first.publish({"results": {}, "alone": True})
    assert meet(shared, 2).enter().alone


def test_fall_back_concerns_both_halves(shared):
    first = meet(shared, 1)
    assert first.enter() is None
    with first.working():
        first.publish({"fallback": True, "message": "no"})
    assert meet(shared, 2).enter().record["message"] == "no"


def test_lock_of_a_killed_process_is_taken_over(shared):
    script = (
        "import sys, time, pathlib\n"
        "from cryodl.methods.spisonet.relion.coordination import Meeting\n"
        "shared = pathlib.Path(sys.argv[1])\n"
        "m = Meeting(shared, 1, lambda h: f'{(shared.parent / f\"in{h}\").stat().st_mtime_ns}')\n"
        "assert m.enter() is None\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(shared)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "locked\n"
        second = meet(shared, 2)
        waiting = Thread(second.enter)
        time.sleep(0.5)
        assert waiting.is_alive()
        child.kill()
    started = time.monotonic()
    assert waiting.done() is None
    assert time.monotonic() - started < 5 and second.took_over


def test_silent_worker_of_another_host_is_replaced(shared):
    lock = Path(f"{shared}_spisonet.lock")
    content = {"token": "x", "host": "elsewhere", "pid": 1, "half": 1}
    content["inputs"] = str((shared.parent / "in1").stat().st_mtime_ns)
    lock.write_text(json.dumps(content))
    with pytest.raises(ResourceError, match="longer than ISONET_TIMEOUT"):
        meet(shared, 2, timeout_seconds=0.3).enter()
    past = time.time() - 40
    os.utime(lock, (past, past))
    second = meet(shared, 2)
    assert second.enter() is None and second.took_over


def test_lock_for_earlier_inputs_is_replaced(shared):
    first = meet(shared, 1)
    assert first.enter() is None
    os.utime(shared.parent / "in1", (1, 1))
    second = meet(shared, 2)
    assert second.enter() is None and second.took_over
    with pytest.raises(ResourceError, match="another call has taken over"):
        first.publish(result(shared))
    first.fail("of no account")
    assert files(shared) == ["lock"]
    second.publish(result(shared, 1))


def test_heartbeat_keeps_a_worker_alive(shared):
    first = meet(shared, 1)
    assert first.enter() is None
    lock = first.path("lock")
    with first.working():
        past = time.time() - 1000
        os.utime(lock, (past, past))
        time.sleep(0.5)
        assert time.time() - lock.stat().st_mtime < 5
        first.publish(result(shared))


def test_check_runs_with_the_heartbeat(shared):
    calls = []
    first = meet(shared, 1)
    assert first.enter() is None
    with first.working(lambda: calls.append(1)):
        time.sleep(0.5)
        first.publish(result(shared))
    assert calls


def test_partner_left_over_is_not_taken_for_present(shared):
    Path(f"{shared}_spisonet.half2").touch()
    os.utime(f"{shared}_spisonet.half2", (1, 1))
    first = meet(shared, 1)
    assert first.enter() is None
    assert not first.partner_is_here(0.3)


def test_folder_that_is_gone_is_an_error(tmp_path):
    meeting = Meeting(tmp_path / "none" / "run_it001", 1, lambda half: "")
    with pytest.raises(ResourceError, match="could not be listed"):
        meeting.enter()


def test_process_start():
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert process_start(child.pid) is None


def test_call_ends_when_its_relion_is_gone(tmp_path):
    # A shell copied under RELION's name starts the watch and is killed.
    shell = tmp_path / "relion_refine_test"
    shutil.copy(shutil.which("sh"), shell)
    script = (
        "import time\n"
        "from cryodl.methods.spisonet.relion.processes import parent_watch\n"
        "watch = parent_watch()\n"
        "watch()\n"
        "print('watching', flush=True)\n"
        "while True:\n"
        "    time.sleep(0.1)\n"
        "    watch()\n"
    )
    (tmp_path / "child.py").write_text(script)
    command = [str(shell), "-c", f"{sys.executable} {tmp_path}/child.py; true"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "watching\n"
        parent.kill()
        # The pipe closes when the child has ended, too.
        assert parent.stdout.read() == ""
    assert parent_watch() is None
