import zipfile

import numpy as np
import pytest

from unienv.arrays import read_arrays

GOOD = {"a": np.arange(3), "b": np.array(["x", "é", "🦜"]), "c": np.zeros((0, 2)), "d": np.array("text")}


def test_arrays_are_read_as_they_were_written(tmp_path):
    np.savez(tmp_path / "a.npz", **GOOD)
    for found in (read_arrays(tmp_path / "a.npz"), read_arrays(str(tmp_path / "a.npz"), [*GOOD, "absent"])):
        assert list(found) == list(GOOD)
        assert all(np.array_equal(found[name], GOOD[name]) and found[name].dtype == GOOD[name].dtype for name in GOOD)
    assert list(read_arrays(tmp_path / "a.npz", ["d"])) == ["d"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF])
def test_characters_that_python_can_not_hold_are_refused(tmp_path, order, code):
    damaged = np.full((2, 3), code, f"{order}u4").view(f"{order}U3")
    np.savez(tmp_path / "a.npz", good=GOOD["b"].astype(f"{order}U1"), b=np.asfortranarray(damaged))
    assert read_arrays(tmp_path / "a.npz", ["good"])["good"].tolist() == GOOD["b"].tolist()
    with pytest.raises(ValueError, match=r"\Ab holds characters that are none\Z"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("array", [np.array([None]), np.zeros(2, [("x", "U2")]), np.zeros(2, "V3")])
def test_objects_and_records_are_refused(tmp_path, array):
    np.savez(tmp_path / "a.npz", b=array)
    with pytest.raises(ValueError, match=r"\A(Object arrays cannot be loaded|b should hold numbers or text, not ).*\Z"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("place, value", [(6, 1), (6, 32), (6, 64), (8, 99), (4, 99)])
def test_what_zip_files_may_be_but_arrays_are_not_is_refused(tmp_path, place, value):
    """Encrypted, patched, or packed in ways that Python does not know."""
    np.savez(tmp_path / "a.npz", a=GOOD["a"])
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    for start in (0, whole.index(b"PK\1\2") + 2):
        whole[start + place] = value
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(ValueError, match=r"\A.+\Z"):
        read_arrays(tmp_path / "a.npz")


def test_members_that_are_no_arrays_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("b.npy", b"text")
    with pytest.raises(ValueError, match=r"\Ab is no array\Z"):
        read_arrays(tmp_path / "a.npz")


def test_no_file_is_none(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\A.+\Z"):
        read_arrays(tmp_path / "a.npz")
    np.save(tmp_path / "alone.npy", GOOD["a"])
    with pytest.raises(ValueError, match=r"\A.+\Z"):
        read_arrays(tmp_path / "alone.npy")
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "absent.npz")
