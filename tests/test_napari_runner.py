"""The runner: results, progress, cancelling and errors. Needs a window's Qt."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

from napari_medxai.errors import StudyError
from window import missing_for_a_window

MISSING = missing_for_a_window()
pytestmark = [
    pytest.mark.window,
    pytest.mark.skipif(bool(MISSING), reason=f"no window: {MISSING}"),
]


@pytest.fixture
def record(qtbot):
    """A runner and what its signals said, with the thread they said it on."""
    from napari_medxai._napari.runner import Runner

    runner = Runner()
    said: list[tuple] = []

    def note(kind):
        def keep(*values):
            said.append((kind, *values))
            assert threading.current_thread() is threading.main_thread()

        return keep

    runner.progressed.connect(note("progress"))
    runner.produced.connect(note("result"))
    runner.ended.connect(note("ended"))

    def go(job, **keywords):
        runner.start(job, **keywords)
        qtbot.waitUntil(lambda: not runner.running, timeout=20_000)
        return said

    go.runner = runner
    go.said = said
    return go


def test_results_come_in_order_on_the_gui_thread(record):
    def job(report):
        assert threading.current_thread() is not threading.main_thread()
        report(0.5, "half")
        yield 1
        yield 2

    said = record(job)
    assert [s for s in said if s[0] == "result"] == [("result", 1), ("result", 2)]
    assert ("progress", 0.5, "half") in said
    assert said[-1] == ("ended", "done", "")


def test_an_error_becomes_its_text(record):
    def job(report):
        yield 1
        raise StudyError("a.png: is damaged.")

    assert record(job)[-1] == ("ended", "failed", "a.png: is damaged.")


def test_a_fault_of_ours_is_told_in_one_line_and_logged(record, caplog):
    def job(report):
        yield 1 // 0

    assert record(job)[-1][2].startswith("Something unexpected failed (ZeroDivision")
    assert "ZeroDivisionError" in caplog.text


def test_cancel_stops_at_the_next_report_and_closes_the_job(record, qtbot):
    closed = threading.Event()

    def job(report):
        try:
            while True:
                report(0.1, "working")
                time.sleep(0.005)
                yield "more"
        finally:
            closed.set()

    record.runner.start(job)
    qtbot.waitUntil(lambda: ("result", "more") in record.said, timeout=20_000)
    record.runner.cancel()
    qtbot.waitUntil(lambda: not record.runner.running, timeout=20_000)
    assert record.said[-1] == ("ended", "cancelled", "")
    assert closed.is_set()

    def again(report):
        yield "second run"

    assert ("result", "second run") in record(again)


def test_a_job_ends_when_nobody_is_left_to_be_told(qtbot):
    """The runner and its signals are gone: the job stops, and frees the lock."""
    from napari_medxai._napari import runner
    from napari_medxai.errors import Cancelled

    def gone(fraction, text):
        raise RuntimeError("Signal source has been deleted")

    with pytest.raises(Cancelled):
        runner.Reporter(gone)(0.5, "half")
    closed = threading.Event()

    def job(report):
        try:
            while True:
                report(0.1, "working")
                time.sleep(0.005)
            yield
        finally:
            closed.set()

    alone = runner.Runner()
    alone.start(job)
    del alone
    gc.collect()
    qtbot.waitUntil(closed.is_set, timeout=10_000)
    qtbot.waitUntil(lambda: not runner._engine.locked(), timeout=10_000)


def test_two_engines_wait_for_each_other(record, qtbot):
    from napari_medxai._napari.runner import Runner

    go_on = threading.Event()
    at_work: list[str] = []

    def first(report):
        at_work.append("first")
        assert go_on.wait(20)
        at_work.append("first done")
        yield 1

    def second(report):
        at_work.append("second")
        yield 2

    other = Runner()
    other.start(first)
    qtbot.waitUntil(lambda: at_work == ["first"], timeout=20_000)
    record.runner.start(second)
    qtbot.waitUntil(lambda: any("Waiting" in str(s) for s in record.said))
    assert at_work == ["first"]
    go_on.set()
    qtbot.waitUntil(lambda: not (other.running or record.runner.running))
    assert at_work == ["first", "first done", "second"]


def test_warnings_of_libraries_go_to_the_log(record, caplog):
    def job(report):
        warnings.warn("from a library", UserWarning, stacklevel=1)
        yield 1

    before = warnings.showwarning
    with caplog.at_level("INFO"):
        assert record(job)[-1] == ("ended", "done", "")
    assert "from a library" in caplog.text
    assert warnings.showwarning is before


def test_triton_is_kept_out_beside_a_second_llvm(monkeypatch, tmp_path):
    from napari_medxai._napari import _libraries

    maps = tmp_path / "maps"
    monkeypatch.setattr(_libraries, "MAPS", maps)
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    maps.write_text("7f0000-7f1000 r-xp /usr/lib/libc.so.6\n")
    assert not _libraries.keep_triton_out()
    assert "triton" not in sys.modules
    maps.write_text("7f0000-7f1000 r-xp /usr/lib/libLLVM.so.19.1\n")
    assert _libraries.keep_triton_out()
    with pytest.raises(ImportError):
        __import__("triton")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None is immortal")
def test_none_outlives_any_number_of_workers():
    """PySide6 6.12 loses a reference to None with every worker, and then aborts."""
    code = """
import sys, time
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari_medxai._napari.runner import Runner
runner = Runner()
def job(report):
    report(0.5, "x")
    yield 1
for _ in range(30):
    runner.start(job)
    while runner.running:
        app.processEvents()
        time.sleep(0.0005)
print(sys.getrefcount(None) > 2**40)
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        timeout=120,
    )
    assert result.stdout.strip() == "True"
    assert result.returncode == 0, result.stderr[-500:]
