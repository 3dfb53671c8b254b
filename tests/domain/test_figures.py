from __future__ import annotations

from rr_py_ws.domain.figures import Kind, counter, gauge


def test_a_plain_number_has_no_labels() -> None:
    figure = gauge("connections", "Open ones.", 3)
    assert (figure.kind, figure.labels, figure.values) == (Kind.GAUGE, (), {(): 3})


def test_a_map_has_a_number_for_each_label_value() -> None:
    figure = counter("refused", "Refused ones.", {"path": 1, "origin": 2}, "reason")
    assert (figure.kind, figure.labels) == (Kind.COUNTER, ("reason",))
    assert figure.values == {("path",): 1, ("origin",): 2}


def test_with_several_labels_the_keys_are_tuples() -> None:
    figure = counter("calls", "Calls.", {("a.B", "ok"): 1}, "method", "result")
    assert figure.labels == ("method", "result")
    assert figure.values == {("a.B", "ok"): 1}
