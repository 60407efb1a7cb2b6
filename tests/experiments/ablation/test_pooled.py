"""Trials of several studies as one, as users run it, and mistakes."""

import csv
import json
import math

import pytest

from experiments.ablation import pooled
from experiments.run import main


def row(coupling, psi, seed, score, env="match"):
    told = f"env={env} env.coupling={coupling:g} agent.psi={psi} seed={seed} env.num_colours=2 env.num_shapes=2"
    return {
        "name": f"{env}-{coupling:g}-{psi}-{seed}", "env": env, "coupling": coupling, "psi": psi, "seed": seed,
        "J": 0.5 + 0.5 * score, "success": 0.5, "score": score, "seconds": 3.0,
        "command": f"python experiments/run.py {told}",
    }  # fmt: skip


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def study(path, gaps, offset=0.0):
    """A table with five seeds in each coupling; seeds differ by 0.01, forms by the gap."""
    rows = [
        row(coupling, psi, seed, 0.9 + offset + 0.01 * seed - gap * (psi == "late"))
        for coupling, gap in gaps.items()
        for seed in range(5)
        for psi in ("joint", "late")
    ]
    return write(path, rows)


def test_trials_of_all_tables_are_one_study(tmp_path, capsys):
    tables = [study(tmp_path / "a.csv", {0.0: 0.0, 1.0: 0.2}), study(tmp_path / "b.csv", {0.5: 0.5, 1.0: 0.8}, 0.05)]
    assert main(["study=pooled", f"tables={','.join(tables)}", f"runs={tmp_path / 'runs'}", "json=true"]) == 0
    told = json.loads(capsys.readouterr().out)
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "ablation.json").read_text()) == told and (folder / "report.html").exists()
    cells = {cell["coupling"]: cell for cell in told["cells"]}
    assert [cells[c]["gap"]["value"] for c in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 0.5, 0.8])
    assert cells[1.0]["forms"]["joint"]["scores"]["4"] == pytest.approx(0.99)  # of the later table
    assert cells[1.0]["ns"]["nats"] == pytest.approx(math.log(2)) and cells[0.0]["ns"]["nats"] == pytest.approx(0.0)
    assert told["trend"]["rho"]["value"] == pytest.approx(1.0) and told["trend"]["p"] == pytest.approx(1 / 6)
    assert [control["coupling"] for control in told["controls"]] == [0.0] and told["controls"][0]["equivalent"]
    assert {gap["p_step_down"] for gap in (cells[c]["gap"] for c in (0.5, 1.0))} == {1 / 32}
    (again,) = [
        r for r in csv.DictReader((folder / "ablation.csv").read_text().splitlines()) if r["name"] == "match-0.5-late-3"
    ]
    assert again["command"] == row(0.5, "late", 3, 0)["command"] and float(again["score"]) == pytest.approx(0.48)
    text = (folder / "ablation.md").read_text()
    assert "30 of 30 trials" in text and "study=pooled tables=" in text
    assert all("put together after their studies" in told for told in (text, (folder / "report.html").read_text()))


def test_trials_of_a_cell_that_were_trained_otherwise_are_no_one_study(tmp_path, capsys):
    tables = [study(tmp_path / f"{name}.csv", {1.0: 0.5}) for name in "ab"]
    rows = list(csv.DictReader((tmp_path / "b.csv").read_text().splitlines()))[4:]
    write(tmp_path / "b.csv", [one | {"command": one["command"] + " steps=1000"} for one in rows])
    assert main(["study=pooled", f"tables={','.join(tables)}", f"runs={tmp_path / 'runs'}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not (tmp_path / "runs").exists()
    assert "steps 200000 in match-1-joint-0 and 1000 in match-1-joint-2" in error


def test_an_environment_without_an_oracle_is_not_normalised(tmp_path, monkeypatch):
    monkeypatch.setattr(pooled, "measure", lambda env: {"ns": None})
    level = "MiniGrid-Empty-5x5-v0"
    rows = [
        row(0, psi, seed, 0.4, level)
        | {"coupling": "", "command": f"python experiments/run.py env={level} agent.psi={psi} seed={seed}"}
        for psi in ("joint", "late")
        for seed in (0, 1)
    ]
    summary = pooled.pool([write(tmp_path / "a.csv", rows)], 0.05)
    (cell,) = summary["cells"]
    assert cell["score"] == "J" and cell["gap"]["equivalent"] is None and summary["trend"]["n"] == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no trials that were done"),
        ("name,env\nx,match\n", "is no ablation.csv that can be read"),
        ("env,coupling,psi,seed,J,score,success,command\nmatch,half,joint,0,1,1,1,\n", "could not convert"),
        (
            "env,coupling,psi,seed,J,score,success,command\nmatch,1,joint,0,1,1,1,python run.py env=match env.golo=1\n",
            "golo",
        ),
        (
            "env,coupling,psi,seed,J,score,success,command\nx,,joint,0,1,1,1,python run.py env=antigravity:X-v0\n",
            "would import a module",
        ),
        ("env,coupling,psi,seed,J,score,success,command\nchase,,joint,0,1,1,1\n", "is that of another trial"),
        ("\udcff", "is no ablation.csv that can be read"),
    ],
)
def test_a_table_of_something_else_is_told_in_one_line(tmp_path, capsys, text, told):
    (tmp_path / "a.csv").write_text(text, errors="surrogateescape")
    assert main(["study=pooled", f"tables={tmp_path / 'a.csv'}", f"runs={tmp_path / 'runs'}"]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("arguments", "told"), [
    ([], "expected paths of ablation.csv"),
    (["tables=gone.csv"], "No such file"),
    (["tables=experiments/results/ablation-quick/ablation.csv", "margins=1"], "did you mean 'margin'?"),
])  # fmt: skip
def test_mistakes_are_told_before_anything_is_written(tmp_path, capsys, arguments, told):
    assert main(["study=pooled", f"runs={tmp_path / 'runs'}", *arguments]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "runs").exists()
