"""The comparison on a CPU, rehearsed with a tiny model."""

import argparse
import sys

import cpu
import pytest

ARGUMENTS = argparse.Namespace(batch=4, threads=2, steps=1, warmup=0, toy=True)


@pytest.mark.parametrize("part", cpu.PARTS)
def test_every_part_gives_seconds(part):
    seconds = cpu.PARTS[part](ARGUMENTS)
    assert seconds
    assert all(x > 0 for x in seconds)


def test_every_part_is_measured_in_a_process_of_its_own(monkeypatch):
    asked = []

    def child(part: str) -> list[float]:
        asked.append(part)
        return [len(asked), len(asked) + 100.0]

    monkeypatch.setattr(cpu, "child", child)
    figures = cpu.measure()
    assert asked == list(cpu.PARTS)
    for work in ("training", "prediction"):
        for way in ("", "_bfloat16"):
            ours, torch = (figures[f"{whose}_{work}{way}_seconds"] for whose in ("ours", "torch"))
            assert figures[f"{work}{way}_to_torch"] == round(ours / torch, 2)
        ratio = figures[f"ours_{work}_bfloat16_seconds"] / figures[f"torch_{work}_seconds"]
        assert figures[f"{work}_in_bfloat16_to_torch"] == round(ratio, 2)
    assert figures["products_prediction_seconds"] < figures["products_training_seconds"]


def test_a_child_has_the_settings(monkeypatch):
    options = ["--toy", "--steps=1", "--warmup=0", "--batch=1", "--threads=1"]
    monkeypatch.setattr(sys, "argv", [cpu.__file__, *options])
    assert len(cpu.child("ours_training")) == 1
