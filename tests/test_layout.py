"""How numbers read on the pages."""

import numpy as np
import pandas as pd
import pytest

from ui import layout


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-95.12, 1, "−95.1 nats"),
        (-0.001, 2, "0.00 nats"),
        (-0.04, 1, "0.0 nats"),
        (0.0, 2, "0.00 nats"),
        (-0.006, 2, "−0.01 nats"),
        (np.float32(-1234.56), 1, "−1,234.6 nats"),
    ],
)
def test_nats_have_a_true_minus_and_no_minus_nought(value, digits, text):
    assert layout.nats(value, digits) == text


def test_a_code_is_named_by_its_first_coordinates():
    assert layout.coordinates(np.float32([0.123, -0.4])) == "(0.12, −0.40)"
    assert layout.coordinates(np.float32([1, -0.001, 2, 3]), 3) == "(1.00, 0.00, 2.00, …)"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.b.csv", "text/csv"),
        ("a.gif", "image/gif"),
        ("a.png", "image/png"),
        ("β = 1.5.safetensors", "application/octet-stream"),
    ],
)
def test_a_file_is_sent_as_the_kind_that_its_name_says(name, kind, monkeypatch):
    sent = []
    monkeypatch.setattr(layout.st, "download_button", lambda *given, **look: sent.append((given, look)))
    layout.download("File", b"content", name)
    (((_, _, file_name, mime, *_), look),) = sent
    assert (file_name, mime, look["on_click"]) == (name, kind, "ignore")


def test_nats_in_tables_read_the_same():
    frame = pd.DataFrame({"name": ["a", "b", "c"], "nats": [-0.001, -95.126, np.nan]})
    shown = layout.nats_in(frame, ["nats"])._translate(sparse_index=False, sparse_cols=False)["body"]
    assert [row[2]["display_value"] for row in shown] == ["0.00", "−95.13", ""]
