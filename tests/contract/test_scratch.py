"""Temporary folders go, whatever a candidate left in them."""

import os

import pytest

from dpaudit.contract.scratch import remove_tree, scratch_folder


def test_a_plain_folder_goes():
    with scratch_folder() as home:
        (home / "work" / "file").write_text("text")
        assert (home / "work").is_dir()
    assert not home.exists()


def test_a_tree_deeper_than_a_recursion_goes(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    remove_tree(top)
    assert not top.exists()


def test_links_are_removed_and_not_followed(tmp_path):
    kept, top = tmp_path / "kept", tmp_path / "top"
    kept.mkdir()
    (kept / "file").write_text("text")
    (top / "inner").mkdir(parents=True)
    (top / "link").symlink_to(kept)
    (top / "inner" / "link").symlink_to(kept / "file")
    (top / "inner" / "loop").symlink_to(top)
    os.mkfifo(top / "inner" / "pipe")
    remove_tree(top)
    assert not top.exists()
    assert (kept / "file").read_text() == "text"


def test_folders_without_permissions_and_names_in_use_go(tmp_path):
    top = tmp_path / "top"
    (top / "closed" / "inner").mkdir(parents=True)
    (top / f".dpaudit-{os.getpid()}-1").write_text("a name that the removal itself would use")
    (top / "closed").chmod(0)
    remove_tree(top)
    assert not top.exists()


def test_what_is_not_there_is_no_error(tmp_path):
    remove_tree(tmp_path / "nothing")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open descriptors are counted under /proc")
def test_no_descriptor_stays_open(tmp_path):
    top = tmp_path / "top"
    (top / "one" / "two").mkdir(parents=True)
    (top / "three").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    remove_tree(top)
    assert not top.exists()
    assert len(os.listdir("/proc/self/fd")) == before
