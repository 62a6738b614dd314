"""The command line, in this process where possible."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from umlbench import api, cli, paper
from umlbench import recipe as recipes
from umlbench.heads import About
from umlbench.prediction import Prediction, Predictions

COMMANDS = {
    "list", "show", "plan", "run", "report", "plot", "check", "validate", "copy", "doctor",
    "cache path", "cache ls", "cache verify", "cache prune", "prepare", "features import",
    "bench sweep", "predict",
}  # fmt: skip
LIKE_TABLE12 = {
    "paper": "table12",
    "axes": {"dataset": ["dtd", "sun397"], "method": ["unimodal", "uml"]},
    "report": {"metrics": ["accuracy"], "rows": ["method"], "columns": ["dataset"]},
}


@pytest.fixture
def umlbench(monkeypatch, capsys, tmp_path):
    """Run one command line in an empty folder: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["umlbench", *map(str, argv)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code or 0, out=out.out, err=out.err)

    return run


@pytest.fixture
def filled(hand, tmp_path):
    """A recipe file like table 12 with records in ./results, one point above the paper."""
    table = paper.load("table12")
    recipe = hand.recipe(**LIKE_TABLE12)
    hand.fill(recipe, lambda cell, seed: table.value(cell) + 1)
    hand.write(tmp_path / "hand.yaml", **LIKE_TABLE12)
    return "hand.yaml"


def examples(help_text):
    found = [line.strip() for line in help_text.partition("Examples:")[2].splitlines()]
    return [line for line in found if line]


def test_every_command_is_there(umlbench):
    top = umlbench("--help").out
    listed = set(re.findall(r"^  ([a-z]+)  ", top, flags=re.M)) - {"umlbench"}
    assert listed == {command.split()[0] for command in COMMANDS}
    assert "..." not in top.partition("Commands:")[2]  # no line is cut at 80 columns
    assert "..." not in umlbench("cache", "--help").out.partition("Commands:")[2]


@pytest.mark.parametrize("command", ["", "cache", "features", *sorted(COMMANDS)])
def test_every_help_has_examples(umlbench, command):
    shown = umlbench(*command.split(), "--help")
    assert shown.code == 0
    assert all(f"umlbench {command}".strip() in line for line in examples(shown.out))
    assert examples(shown.out)
    assert umlbench(*command.split(), "-h").out == shown.out


@pytest.mark.parametrize("command", ["list", "show", "doctor", "cache path", "cache ls"])
def test_cheap_examples_run(umlbench, command):
    for line in examples(umlbench(*command.split(), "--help").out):
        inner = re.search(r"\$\((.*)\)", line)
        words = shlex.split(inner[1] if inner else line)
        assert words[0] == "umlbench"
        assert umlbench(*words[1:]).code == 0, line


@pytest.mark.parametrize("command", ["plan", "run"])
def test_examples_of_runs_are_right(command, umlbench):
    for line in examples(umlbench(command, "--help").out):
        _, _, name, *options = shlex.split(line)
        pairs = list(zip(options[::2], options[1::2], strict=True))
        changes = {"overrides": [v for k, v in pairs if k == "--set"]}
        changes["only"] = [v for k, v in pairs if k == "--only"]
        assert recipes.bundle(name, **changes).recipes, line


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['umlbench', '--help']\n"
        "from umlbench import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pandas', 'pydantic', 'rich', 'matplotlib', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "Commands:" in done.stdout


def test_plot(umlbench, filled, tmp_path):
    shown = umlbench("plot", filled)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith(f"{filled}: there is nothing to draw, since its recipe has no plot")
    text = (tmp_path / filled).read_text()
    drawn = text.replace("metrics:", "plot: {x: dataset, lines: method}\n  metrics:")
    (tmp_path / filled).write_text(drawn)
    shown = umlbench("plot", filled, "--format", "svg", "--format", "pdf", "--out", "mine")
    assert (shown.code, shown.out) == (0, "mine/hand.svg\nmine/hand.pdf\n")
    assert umlbench("plot", filled).out == "results/hand/hand.png\n"
    assert (tmp_path / "results/hand/hand.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("table3", "table3: nothing is recorded, since it has no recipe yet"),
        ("figure27", "no records of figure8 in results"),
        ("figure2", "figure 2 of the paper is a diagram without data"),
        ("figur", "unknown recipe 'figur'"),
    ],
)
def test_plot_of_what_is_not_there_is_one_line(umlbench, name, said):
    shown = umlbench("plot", name)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.splitlines()[0].startswith(said)


def test_list(umlbench):
    shown = umlbench("list")
    for name in [*paper.names(), *recipes.names()]:
        assert re.search(rf"^{name}\b", shown.out, flags=re.M)
    found = json.loads(umlbench("list", "--json").out)
    assert [item["name"] for item in found][:29] == [f"table{n}" for n in range(1, 30)]
    assert {"name", "title", "family", "status", "jobs", "done"} <= set(found[0])


def test_list_on_a_narrow_terminal(umlbench, monkeypatch):
    monkeypatch.setattr(cli.printing, "PIPE_WIDTH", 80)
    out = umlbench("list").out
    assert max(len(line) for line in out.splitlines()) <= 80
    item = out[out.index("\nfigure7 ") : out.index("\nfigure8 ")]
    assert {"Transfer:", "(transfer)", "not", "run"} <= set(item.split())


def test_show(umlbench):
    assert "# the paper's figure3" in umlbench("show", "figure39").out
    found = json.loads(umlbench("show", "figure39", "--json").out)
    assert (found["recipes"][0]["id"], found["paper"]["id"]) == ("figure3", "figure3")


def test_plan(umlbench):
    shown = umlbench("plan", "theory", "--seeds", "1-2", "--limit", "3")
    assert re.search(r"theory +3 +0 +3 +3 +not known yet", shown.out)
    found = json.loads(umlbench("plan", "theory", "--json").out)
    assert list(found) == ["id", "jobs", "todo", "missing", "parts", "features", "downloads"]
    keys = ["recipe", "jobs", "todo", "trainings", "seconds", "memory", "problems"]
    assert [list(part) for part in found["parts"]] == [keys]


def test_prepare_says_what_lacks_and_plan_what_it_costs(umlbench):
    changes = ("--set", "dataset=dtd", "--set", "text_type=cupl", "--offline")
    shown = umlbench("prepare", "digits", *changes)
    assert shown.code == 4
    assert re.search(r"^data set +dtd +missing: .*no such folder", shown.out, flags=re.M)
    assert re.search(r"^texts +dtd/cupl +missing: .*descriptors_dtd.json", shown.out, flags=re.M)
    assert re.search(r"^weights +pixels +present: comes with", shown.out, flags=re.M)
    planned = umlbench("plan", "digits", *changes)
    assert planned.code == 0
    assert re.search(r"pixels +dtd train +2820 +\? +\? +\?", planned.out)
    assert "missing: dtd: no descriptions of CuPL" in planned.out
    run = umlbench("run", "digits", *changes)
    assert run.code == 4
    assert "dtd: no descriptions of CuPL" in run.err


def test_imported_features(umlbench, tmp_path):
    import numpy as np

    from umlbench import data

    train = data.load("digits").split("train")
    np.savez(tmp_path / "f.npz", x=np.ones((len(train), 3), np.float32), y=train.labels)
    where = ("--dataset", "digits", "--split", "train", "--name", "mine")
    shown = umlbench("features", "import", "f.npz", *where)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == "898 rows of 3 joined the cache; in a recipe: encoder: imported:mine\n"
    assert "imported" not in umlbench("features", "import", "none.npz", *where).out
    assert umlbench("features", "import", "none.npz", *where).code == 4


def test_environment_variables(umlbench, monkeypatch, tmp_path):
    monkeypatch.setenv("UMLBENCH_SEEDS", "1-2")
    monkeypatch.setenv("UMLBENCH_LIMIT", "1")
    assert json.loads(umlbench("plan", "theory", "--json").out)["jobs"] == 1
    monkeypatch.setenv("UMLBENCH_RESULTS", str(tmp_path / "other"))
    assert "other" in umlbench("check").err
    assert umlbench("cache", "path").out.strip() == str(tmp_path / "cache")


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["rnu"], 2, "Did you mean 'run'?"),
        (["run", "digts"], 2, "did you mean 'digits'?"),
        (["show", "figure1"], 2, "a diagram without data"),
        (["plan", "table17x"], 2, "known: digits"),
        (["plan", "digits", "--set", "sede=1"], 2, "sede"),
        (["plan", "digits", "--only", "shot=1"], 2, "did you mean 'shots'?"),
        (["plan", "digits", "--sede", "1"], 2, "--sede"),
        (["run", "theory", "--executor", "locl"], 2, "did you mean 'local'?"),
        (["run", "theory", "--device", "tpu"], 2, "no device 'tpu'"),
        (["plan", "theory", "--heads", "cash"], 2, "unknown place for heads 'cash', did you mean"),
        (["predict", "digits", "photos", "--format", "jsn"], 2, "did you mean 'json'?"),
        (["predict", "digits", "photos", "--only", "shots=3"], 2, "known: 1, 2, 4, 8, 16"),
        (["predict", "digits", "photos"], 4, "no stored head of digits: of 75 jobs"),
        (["predict", "x.safetensors", "photos"], 4, "x.safetensors: no such file"),
        (["report", "--format", "jsn"], 2, "did you mean 'json'?"),
        (["report"], 2, "run first: umlbench run quickstart"),
        (["check"], 2, "run first: umlbench run quickstart"),
        (["check", "theory", "--json"], 2, "run first: umlbench run theory"),
    ],
)
def test_usage_errors_are_lines_not_tracebacks(umlbench, argv, code, says):
    ended = umlbench(*argv)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_a_run_stores_reports_and_says_where(umlbench, tmp_path):
    first = umlbench("run", "theory", "--limit", "2", "--workers", "1")
    assert first.code == 0, first.err
    folder = tmp_path / "results" / "theory"
    assert "theory: 2 of 2 jobs to run" in first.err
    assert first.err.splitlines()[-1] == (
        "written: results/theory/report.md results/theory/report.csv"
    )
    assert "not run" in first.out
    again = umlbench("run", "theory", "--limit", "2", "--workers", "1")
    assert "0 of 2 jobs to run, 2 are done" in again.err
    assert umlbench("report", "theory", "--format", "markdown").out == (
        (folder / "report.md").read_text()
    )
    assert umlbench("report", "--format", "csv").out == (folder / "report.csv").read_text()
    assert umlbench("check", "theory").out.startswith("theory: no deviation (")
    listed = json.loads(umlbench("list", "--json").out)
    assert {item["name"]: item["done"] for item in listed}["theory"] == 2


def test_predict(umlbench, monkeypatch):
    about = About.model_construct(
        id="0f", recipe="hand", cell={"shots": 1}, seed=2, metrics={"accuracy": 61.5}, encoder=None
    )
    photo = Prediction("a.jpg", 1, "owl, barn", 0.91)
    broken = {"b.jpg": "torn"}
    found = [Predictions(SimpleNamespace(about=about), (photo,), them) for them in (broken, {})]
    monkeypatch.setattr(api, "predict", lambda *_, **__: found[0])
    shown = umlbench("predict", "hand", "photos")
    assert (shown.code, "owl, barn" in shown.out) == (4, True)
    assert shown.err == ("head: hand shots=1 seed=2 (accuracy 61.50)\nbroken: b.jpg: torn\n")
    text = umlbench("predict", "hand", "photos", "--format", "csv").out
    assert text == 'photo,class,probability\na.jpg,"owl, barn",0.9100\n'
    found.pop(0)
    assert umlbench("predict", "hand", "photos", "--format", "json").code == 0


def test_a_run_says_where_its_heads_are(umlbench):
    run = ("run", "digits", "--only", "shots=1,method=unimodal", "--seeds", "1", "--workers", "1")
    few = ("--set", "max_iterations=60", "--set", "grid.learning_rate=[0.001]")
    assert "heads" not in umlbench(*run, *few).err
    planned = umlbench("plan", *run[1:6], *few, "--heads", "results")
    assert "1 jobs are done and run again to keep their heads." in planned.out
    ended = umlbench(*run, *few, "--heads", "results")
    assert "digits: 1 of 1 jobs to run, 1 of them again to keep their heads" in ended.err
    assert ended.err.splitlines()[-1] == "heads in results/digits/heads"
    assert len(list(Path("results/digits/heads").iterdir())) == 1
    assert "0 of 1 jobs to run, 1 are done" in umlbench(*run, *few, "--heads", "results").err


def test_a_changed_recipe_writes_no_tables(umlbench, tmp_path):
    ended = umlbench("run", "theory", "--set", "designs=2", "--limit", "1", "--workers", "1")
    assert "No tables written: --set" in ended.err
    assert "recorded in results/theory/records.jsonl" in ended.err
    assert [path.name for path in (tmp_path / "results/theory").iterdir()] == ["records.jsonl"]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "umlbench run theory --set 'a b=1' --results r"),
        (api.StorageError("disk full", "free space"), 3, "disk full\n  free space"),
        (api.MissingInput("no photos", "download them"), 4, "no photos\n  download them"),
    ],
)
def test_how_a_run_ends(umlbench, monkeypatch, error, code, says):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(api, "run", fail)
    ended = umlbench("run", "theory", "--set", "a b=1", "--fresh", "--results", "r")
    assert ended.code == code
    assert ended.err.rstrip().endswith(says)  # to resume is not to begin --fresh


def test_a_run_with_failed_jobs(umlbench, monkeypatch):
    plan = SimpleNamespace(parts=(), missing=())
    ran = api.Ran(plan, (SimpleNamespace(ok=False), SimpleNamespace(ok=True)), (), 61.0)
    monkeypatch.setattr(api, "run", lambda *_, **__: ran)
    ended = umlbench("run", "theory")
    assert ended.code == 3
    assert "2 jobs in 1m01s" in ended.err
    assert ended.err.splitlines()[-1] == "1 jobs failed; this tries them again: umlbench run theory"


def test_report_formats(umlbench, filled):
    assert "ours − paper" in umlbench("report", filled).out
    assert umlbench("report", filled, "--format", "markdown").out.startswith("# hand: A table\n")
    (found,) = json.loads(umlbench("report", filled, "--format", "json").out)
    assert found["entries"][0]["difference"] == 1.0
    assert umlbench("report", filled, "--format", "csv").out.startswith("recipe,method,dataset")


def test_report_names_what_it_cannot_show(umlbench, filled):
    ended = umlbench("report")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "not shown: hand (no built-in recipes; name their files)\n"


def test_report_writes_files(umlbench, filled, tmp_path):
    umlbench("report", filled, "--write")
    folder = tmp_path / "results" / "hand"
    assert umlbench("report", filled, "--format", "markdown").out == (
        (folder / "report.md").read_text()
    )
    (folder / "report.csv").unlink()
    (folder / "report.csv").mkdir()
    ended = umlbench("report", filled, "--write")
    assert ended.code == 3
    assert "cannot write the rendered table to results/hand" in ended.err
    assert "umlbench report hand" in ended.err


def test_a_suite_is_reported_and_checked_part_by_part(umlbench):
    umlbench("run", "theory", "--limit", "1", "--workers", "1")
    ids = [recipe.id for recipe in recipes.bundle("quickstart").recipes]
    found = json.loads(umlbench("report", "quickstart", "--format", "json").out)
    assert [one["id"] for one in found] == ids
    checked = json.loads(umlbench("check", "quickstart", "--json").out)
    assert [one["recipe"] for one in checked] == ids
    assert "jobs not run" in umlbench("check", "quickstart").out


def test_check(umlbench, filled, hand, tmp_path):
    assert umlbench("check", filled).out == (
        "hand: no deviation (4 numbers against the paper, 1 judged claim)\n"
    )
    earlier = tmp_path / "earlier"
    hand.results.rename(earlier)
    hand.fill(hand.recipe(**LIKE_TABLE12), lambda cell, seed: 70.0)
    ended = umlbench("check", filled, "--against", earlier)
    assert ended.code == 1
    assert "worse than before: was 79.25, now 70.00 (-9.25, 3 seeds)" in ended.out
    (found,) = json.loads(umlbench("check", filled, "--against", earlier, "--json").out)
    assert {one["kind"] for one in found["deviations"]} == {"paper", "change"}
    missing = umlbench("check", filled, "--against", "nowhere")
    assert (missing.code, missing.err.splitlines()[0]) == (2, "no folder nowhere to check against")


def test_validate_and_copy(umlbench, tmp_path):
    assert umlbench("copy", "digits", "mine.yaml").code == 0
    assert umlbench("validate", "mine.yaml", "figure3").out == "mine.yaml: ok\nfigure3: ok\n"
    assert umlbench("copy", "digits", "mine.yaml").code == 2
    path = tmp_path / "mine.yaml"
    path.write_text(path.read_text().replace("seeds:", "sedes:"))
    ended = umlbench("validate", "mine.yaml")
    assert ended.code == 2
    assert re.search(r"^mine.yaml:\d+:\d+: ", ended.out)
    assert list(json.loads(umlbench("validate", "mine.yaml", "--json").out)) == ["mine.yaml"]


def test_cache(umlbench, tmp_path):
    assert json.loads(umlbench("cache", "ls", "--json").out) == []
    assert umlbench("cache", "verify").out == "0 entries, no damage\n"
    unfinished = tmp_path / "cache" / "pixels" / "digits-train" / ("0123456789abcdef" * 2)
    unfinished.mkdir(parents=True)
    (unfinished / "00000.safetensors").write_bytes(b"torn")
    assert umlbench("cache", "prune", "--dry-run").out.startswith("would remove pixels/digits")
    assert unfinished.exists()
    assert "removed 1 entries" in umlbench("cache", "prune").out
    assert not unfinished.exists()


def test_doctor(umlbench, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    facts = json.loads(umlbench("doctor", "--json").out)
    assert facts["hub token"] == "present"
    assert "hf_secret" not in umlbench("doctor").out


def test_completion_offers_recipes():
    assert "digits" in cli.options.complete("di")
    assert cli.options.complete("zzz") == []


def test_the_console_script_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "umlbench.cli", "show", "figure2"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("figure 2 of the paper is a diagram")


def test_paths_of_this_machine_are_in_no_module():
    home = str(Path.home())
    assert all(home not in p.read_text() for p in Path(api.__file__).parent.rglob("*.py"))


PARTLY = """\
id: partly
title: Digits and textures
protocol: linear_probe
axes: {dataset: [digits, dtd]}
seeds: [1]
settings: {encoder: pixels, method: unimodal, shots: 1, max_iterations: 60}
report: {metrics: [accuracy], rows: [dataset]}
"""


def test_what_is_here_runs_and_what_is_missing_is_named(umlbench, tmp_path):
    (tmp_path / "partly.yaml").write_text(PARTLY)
    (tmp_path / "data").mkdir()
    ran = umlbench("run", "partly.yaml", "--offline", "--data", "data")
    assert ran.code == 4
    assert re.search(r"^ *digits +\d+\.\d\d", ran.out, flags=re.M)
    assert re.search(r"^ *dtd +not run", ran.out, flags=re.M)
    assert "left out; the end names them" in ran.err
    last = ran.err[ran.err.index("Not run, because this is missing here:") :]
    assert "dtd: no such folder" in last
    again = umlbench("run", "partly.yaml", "--offline", "--data", "data")
    assert (again.code, again.out) == (4, "")  # nothing is left that could run
    assert "dtd: no such folder" in again.err


def test_a_broken_data_set_stops_a_run_before_any_training(umlbench, tmp_path):
    (tmp_path / "partly.yaml").write_text(PARTLY)
    (tmp_path / "data" / "dtd").mkdir(parents=True)
    ran = umlbench("run", "partly.yaml", "--offline", "--data", "data")
    assert (ran.code, ran.out) == (4, "")
    assert "split_zhou_DescribableTextures.json" in ran.err
    assert not (tmp_path / "results").exists()
