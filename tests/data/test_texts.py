"""The lists that the scorer and the normalizer are given: files or pipes, read by the rules of data directories."""

import os
import threading

import pytest

from funrecipe.cli import main
from funrecipe.data.texts import read_texts, stream_texts
from funrecipe.errors import DataError

SHUFFLED = "b\t好 的\nc\na x\u3000\nb 好 的\n"


@pytest.mark.parametrize("is_pipe", [False, True])
def test_any_order_comes_back_in_byte_order_from_a_file_and_a_pipe(tmp_path, is_pipe):
    path = tmp_path / "text"
    if is_pipe:
        os.mkfifo(path)
        threading.Thread(target=path.write_text, args=(SHUFFLED,), daemon=True).start()
    else:
        path.write_text(SHUFFLED)
    assert list(stream_texts(path)) == [("a", "x"), ("b", "好 的"), ("c", "")]


def test_a_pipe_is_read_only_where_it_was_asked_for(tmp_path):
    os.mkfifo(tmp_path / "text")
    with pytest.raises(DataError, match="the list is a named pipe, not a file"):
        read_texts(tmp_path / "text")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a 好\nb 二\na 坏\n", "text:3: duplicate id 'a', first in line 1 with another value"),
        ("a 好\nb/c 二\n", "text:2: id 'b/c' holds '/' or '..'"),
        ("a 好\nb 二\x07\n", "text:2: control character in the line of 'b'"),
    ],
)
def test_scorer_and_normalizer_refuse_what_a_data_directory_may_not_hold(tmp_path, capsys, content, said):
    path = tmp_path / "text"
    path.write_text(content)
    assert main(["score", "--ref", str(path), "--hyp", str(path)]) == 3
    assert said in capsys.readouterr().err
    if "duplicate" not in said:  # the normalizer gives a line for each line
        assert main(["normalize", str(path), str(tmp_path / "out")]) == 3
        assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
