"""Temporary folders that a candidate may have written in: whatever it left there, they go."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def scratch_folder(prefix: str = "dpaudit-") -> Iterator[Path]:
    """A fresh folder with a subfolder ``work``, both removed at the end; nothing that lies in them raises then."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        (folder / "work").mkdir()
        yield folder
    finally:
        remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it. What cannot be removed stays, silently: it is in the temporary folder.

    Trees of any depth (a recursive walk would end in a RecursionError), folders without permissions, links (never followed) and
    odd file types are no obstacle: subfolders are moved up to the top, one after the other, and emptied there.
    """
    with contextlib.suppress(OSError):
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            number = 0
            while True:
                subfolders = [name for name in os.listdir(top) if not _unlinked(name, top)]
                if not subfolders:
                    break
                for name in subfolders:
                    number = _emptied(name, top, number)
        finally:
            os.close(top)
        os.rmdir(folder)


def _unlinked(name: str, parent: int) -> bool:
    """Remove it if it is no folder; whether it was none."""
    if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        return False
    os.unlink(name, dir_fd=parent)
    return True


def _emptied(name: str, top: int, number: int) -> int:
    """Remove a folder of ``top`` after moving its subfolders up; the next number for names that nobody else gives."""
    with contextlib.suppress(OSError):
        os.chmod(name, 0o700, dir_fd=top)
    here = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    try:
        for inner in os.listdir(here):
            if not _unlinked(inner, here):
                number += 1
                os.rename(inner, f".dpaudit-{os.getpid()}-{number}", src_dir_fd=here, dst_dir_fd=top)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=top)
    return number
