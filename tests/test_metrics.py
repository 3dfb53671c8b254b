from __future__ import annotations

from rr_py_ws.metrics import counter, gauge


def test_a_plain_number_has_no_labels() -> None:
    sample = gauge("connections", "Open ones.", 3)
    assert (sample.kind, sample.labels, sample.values) == ("gauge", (), {(): 3})


def test_a_map_has_a_number_for_each_label_value() -> None:
    sample = counter("refused", "Refused ones.", {"path": 1, "origin": 2}, "reason")
    assert (sample.kind, sample.labels) == ("counter", ("reason",))
    assert sample.values == {("path",): 1, ("origin",): 2}


def test_with_several_labels_the_keys_are_tuples() -> None:
    sample = counter("calls", "Calls.", {("a.B", "ok"): 1}, "method", "result")
    assert sample.labels == ("method", "result")
    assert sample.values == {("a.B", "ok"): 1}
