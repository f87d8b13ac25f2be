"""The guard's rules, asked without installing it: an audit hook could not be taken back from this process."""

import os
from pathlib import Path

import pytest

from dpaudit.contract.guard import EndedProcess, Guard, Refused


@pytest.fixture
def guard(tmp_path):
    (tmp_path / "work").mkdir()
    watching = Guard(str(tmp_path / "candidate.py"), tmp_path / "work")
    watching._on = True
    return watching


def ask(guard, event, *arguments, line=3):
    """The event, as if the candidate's code at that line led to it."""
    exec(compile("\n" * (line - 1) + "hook(event, arguments)", guard.path, "exec"), {
        "hook": guard._hook, "event": event, "arguments": arguments,
    })  # fmt: skip


@pytest.mark.parametrize("event", ["os.fork", "subprocess.Popen", "socket.connect", "os.remove", "ctypes.dlopen"])
def test_an_action_is_refused_with_its_line(guard, event):
    with pytest.raises(Refused, match=event):
        ask(guard, event, line=7)
    assert [(attempt.action, attempt.line) for attempt in guard.attempts] == [(event, 7)]


def test_only_the_candidate_is_held_to_it(guard):
    guard._hook("os.fork", ())
    ask(guard, "import", "json")
    assert guard.attempts == []


def test_an_attempt_is_kept_once_and_no_more_than_twenty(guard):
    for line in (3, 3, *range(4, 40)):
        with pytest.raises(Refused):
            ask(guard, "os.fork", line=line)
    assert [attempt.line for attempt in guard.attempts] == list(range(3, 23))


def test_files_are_written_below_the_folder_only(guard, tmp_path):
    inside = str(tmp_path / "work" / "file")
    for path, mode, flags in (
        (inside, "w", os.O_WRONLY | os.O_CREAT), (str(tmp_path / "kept"), "r", os.O_RDONLY), (inside, "w", None),
        ("/dev/null", "w", os.O_WRONLY), (3, "w", os.O_WRONLY), (str(tmp_path / "kept"), "rb", None),
    ):  # fmt: skip
        ask(guard, "open", path, mode, flags)
    assert guard.attempts == []
    outside = [
        (str(tmp_path / "kept"), "w", os.O_WRONLY), (str(tmp_path / "kept").encode(), None, os.O_RDWR),
        (str(tmp_path / "work2"), None, os.O_CREAT), (str(tmp_path / "kept"), "a", None),
        (str(tmp_path / "work" / ".." / "kept"), "r+", None), (str(tmp_path / "kept"), "r", os.O_TRUNC),
        (str(tmp_path / "work"), "w", None), (str(tmp_path / "kept"), "xb", None),
    ]  # fmt: skip
    for line, (path, mode, flags) in enumerate(outside, 1):
        with pytest.raises(Refused, match="for writing"):
            ask(guard, "open", path, mode, flags, line=line)
    assert [attempt.line for attempt in guard.attempts] == list(range(1, len(outside) + 1))


def test_a_link_out_of_the_folder_is_followed(guard, tmp_path):
    (tmp_path / "work" / "link").symlink_to(tmp_path)
    with pytest.raises(Refused):
        ask(guard, "open", str(tmp_path / "work" / "link" / "new"), "w", None)


def test_a_guard_that_is_off_refuses_nothing(guard):
    guard.off()
    ask(guard, "os.fork")
    ask(guard, "open", "/somewhere", "w", None)
    assert guard.attempts == []
    assert not Guard("m.py", Path.cwd())._on


def test_the_end_of_the_process_is_an_exception_with_its_words(guard):
    with pytest.raises(EndedProcess, match=r"os\._exit\(3\)"):
        guard._ending("os._exit")(3)


def test_the_line_is_found_through_the_frames_between(guard):
    with pytest.raises(Refused):
        exec(compile("def f():\n    between(lambda: hook('os.fork', ()))\n\nf()", guard.path, "exec"), {
            "hook": guard._hook, "between": lambda call: call(),
        })  # fmt: skip
    assert guard.attempts[0].line == 2


def test_an_installed_guard_hears_of_everything_until_it_is_off(guard, tmp_path):
    """In a fork: nothing takes an audit hook back from a process."""
    kept, ended = tmp_path / "kept", os._exit
    kept.write_text("kept")
    tries = (f"open({str(tmp_path / 'new')!r}, 'w')", f"os.remove({str(kept)!r})", "os._exit(3)", "os.abort()")
    guard._on = False
    pid = os.fork()
    if pid == 0:
        seen = []
        try:
            guard.install()
            for text in tries:
                try:
                    exec(compile(text, guard.path, "exec"))
                except (PermissionError, EndedProcess) as refusal:
                    seen.append(type(refusal))
            guard.off()
            exec(compile(tries[1], guard.path, "exec"))
        finally:
            ended(0 if seen == [Refused, Refused, EndedProcess, EndedProcess] and len(guard.attempts) == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not kept.exists()
    assert not (tmp_path / "new").exists()
