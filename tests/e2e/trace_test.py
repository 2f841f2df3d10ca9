"""Timelines of loads, and when what was asked for first was there."""

import json
from collections import defaultdict

import pytest

RANKS = 2


@pytest.mark.parametrize("options", [["--strategy=direct"], ["--strategy=cooperative", "--lanes=2"]], ids=" ".join)
def test_the_timeline_has_every_rank_and_every_byte(shardwise, large, tmp_path, options):
    trace, stats = tmp_path / "trace.json", tmp_path / "stats.json"
    shardwise.check(
        "load", large, f"--trace={trace}", f"--stats={stats}", "--io=uring", "--verify", *options, ranks=RANKS
    )
    events = json.loads(trace.read_text())["traceEvents"]
    figures = json.loads(stats.read_text())
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"} == {0: "rank 0", 1: "rank 1"}

    rows, read = defaultdict(list), defaultdict(int)
    for event in events:
        if event["ph"] != "X":
            continue
        assert event["ts"] >= 0 and event["dur"] >= 0
        row = (event["pid"], event["tid"])
        rows[row].append((event["ts"], event["ts"] + event["dur"]))
        if names[row].startswith("reads"):
            read[event["pid"]] += event["args"]["bytes"]
    for events_of_row in rows.values():
        for (_, end), (begin, _) in zip(events_of_row, events_of_row[1:]):
            assert end <= begin + 1, "events of one row overlap"
    for rank in figures["ranks"]:
        assert read[rank["rank"]] == rank["bytes"]["read"]
        (row,) = [row for row, name in names.items() if row[0] == rank["rank"] and name == "command"]
        steps = [event for event in events if event["ph"] == "X" and (event["pid"], event["tid"]) == row]
        assert [step["name"] for step in steps] == ["open", "look at files", "plan", "load", "verify"]
        total = sum(step["dur"] for step in steps) / 1e6
        assert total == pytest.approx(rank["seconds"]["total"], rel=0.05)


def test_what_comes_first_is_there_first(shardwise, large, tmp_path):
    stats = tmp_path / "stats.json"
    classes = ["@embedding", "@first-layers=1", "*.mlp.*"]
    result = shardwise.check(
        "load", large, f"--stats={stats}", "--strategy=cooperative", "--staging=2MiB", "--io=pread",
        *[f"--priority={name}" for name in classes], ranks=RANKS,
    )  # fmt: skip
    figures = json.loads(stats.read_text())
    assert [entry["class"] for entry in figures["priority"]] == classes
    seconds = [entry["seconds"] for entry in figures["priority"]]
    assert 0 < figures["first_tensor_seconds"]["min"] <= seconds[0] < seconds[1] < seconds[2]
    assert seconds[2] <= figures["seconds"]["total"]["max"]
    for name in classes:
        assert f"priority {name}: complete everywhere" in result.stdout
    assert figures["lanes_reason"] and figures["lanes"]["min"] >= 1


@pytest.mark.parametrize(
    "option,words",
    [
        ("--priority=@embeding", "did you mean @embedding?"),
        ("--lanes=0", "--lanes 0"),
        ("--lanes=many", "--lanes many"),
    ],
)
def test_what_is_not_understood_is_refused(shardwise, large, option, words):
    result = shardwise.run("load", large, option, ranks=RANKS)
    assert result.returncode == 2
    assert words in result.stderr
