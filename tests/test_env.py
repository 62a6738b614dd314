import pytest

from umlbench import env
from umlbench.errors import UserError


def test_folders_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("UMLBENCH_RESULTS", str(tmp_path / "r"))
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "c"))
    assert env.results() == tmp_path / "r"
    assert env.cache() == tmp_path / "c"
    monkeypatch.delenv("UMLBENCH_RESULTS")
    assert str(env.results()) == "results"


def test_devices(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert env.devices("auto", None) == ("cpu",) * 3
    assert env.devices("cpu", 1) == ("cpu",)
    with pytest.raises(UserError, match="no device 'cuda' on this machine") as caught:
        env.devices("cuda", None)
    assert caught.value.hint == "devices here: cpu"


def test_gpus_have_one_worker_each(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert env.devices("auto", 7) == env.devices("cuda", None) == ("cuda:0", "cuda:1")
    assert env.devices("cuda:1", None) == ("cuda:1",)
    for wrong in ("cuda:2", "cuda:", "gpu", "cpu:0"):
        with pytest.raises(UserError, match="no device"):
            env.devices(wrong, None)


def test_doctor_says_whether_a_token_is_there_and_never_which(monkeypatch, tmp_path):
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert env.doctor(tmp_path)["hub token"] == "none"
    (tmp_path / "token").write_text("hf_filed")
    assert env.doctor(tmp_path)["hub token"] == "present"
    (tmp_path / "token").unlink()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    facts = env.doctor(tmp_path)
    assert facts["hub token"] == "present"
    assert "hf_" not in str(facts)
    assert "writable" in facts["feature cache"]
    assert {"umlbench", "python", "torch", "commit", "processor", "gpus", "results"} <= set(facts)
