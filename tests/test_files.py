"""Nothing half-written under its final name, and failures in words."""

from __future__ import annotations

import errno
import os

import pytest

from napari_medxai.errors import OutputError
from napari_medxai.files import write_atomically


def test_writes_whole_files_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, number, words):
    path = tmp_path / "table.csv"
    write_atomically(path, b"old")

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=words):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_atomically(tmp_path / "x" / "y", b"")
