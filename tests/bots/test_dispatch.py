"""The lines to the venues: one errand a bot, and none that blocks its bot for ever."""

import threading

import pytest

from bots.dispatch import Lines


def test_bot_has_one_errand_under_way_at_a_time() -> None:
    lines, goes_on = Lines(), threading.Event()
    assert lines.send(1, goes_on.wait)
    assert lines.is_busy(1)
    assert not lines.send(1, goes_on.wait)
    assert lines.send(2, lambda: None)
    goes_on.set()
    assert lines.settle(5)
    assert lines.send(1, lambda: None)
    assert lines.settle(5)
    assert not lines.is_busy(1)


def test_no_line_is_free_beyond_the_bound() -> None:
    lines, goes_on = Lines(1), threading.Event()
    assert lines.send(1, goes_on.wait)
    assert not lines.send(2, goes_on.wait)
    goes_on.set()
    assert lines.settle(5)


def test_thread_that_cannot_start_blocks_its_bot_only_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines(1)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError):
        lines.send(1, lambda: None)
    monkeypatch.undo()
    assert not lines.is_busy(1)
    assert lines.send(1, lambda: None)
    assert lines.settle(5)


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("gone")])
def test_errand_that_fails_frees_its_line(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise error

    lines = Lines(1)
    assert lines.send(1, fail)
    assert lines.settle(5)
    assert not lines.is_busy(1)
    assert "its errand to the venue failed" in caplog.text
