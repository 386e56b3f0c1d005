import pytest
from pydantic import ValidationError

from worker.devices import slots
from worker.settings import WorkerSettings


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Makes settings from environment variables, given without their prefix."""
    monkeypatch.chdir(tmp_path)

    def settings(**variables):
        for name, value in {"AGENT_TOKEN": "x" * 32, **variables}.items():
            monkeypatch.setenv(f"CPT_{name}", value)
        return WorkerSettings()

    return settings


def test_a_worker_needs_only_the_agent_token(settings):
    assert settings().queues == ["default"]


def test_the_agent_token_has_no_default(monkeypatch):
    monkeypatch.delenv("CPT_AGENT_TOKEN", raising=False)
    with pytest.raises(ValidationError, match="agent_token"):
        WorkerSettings()


def test_secrets_are_not_printed(settings):
    assert "xxxx" not in repr(settings(BROKER_URL="redis://:xxxx@host/0"))


def test_queues_are_separated_by_commas(settings):
    assert settings(QUEUES="gpu, default").queues == ["gpu", "default"]


def test_names_differ_between_workers(settings):
    assert settings().name != settings().name


def test_folders_are_absolute_and_urls_stay(settings, tmp_path):
    local = settings(STATE_DIR="state", DATA_ROOT="data", STORAGE_URL="storage")
    assert (local.state_dir, local.data_root) == (tmp_path / "state", tmp_path / "data")
    assert local.storage_url == str(tmp_path / "storage")
    assert settings(STORAGE_URL="s3://bucket/x").storage_url == "s3://bucket/x"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_URL", "ftp://x"),
        ("QUEUES", ""),
        ("QUEUES", "no spaces allowed"),
        ("SLOTS", "0"),
        ("DEVICE", "tpu"),
        ("DEVICES_PER_SLOT", "0"),
        ("NAME", "a b"),
        ("NAME", "../x"),
        ("GRACE_SECONDS", "-1"),
        ("GRACE_SECONDS", "inf"),
        ("SPOOL_LIMIT_BYTES", "1"),
        ("GRID_GCO2E_PER_KWH", "-1"),
        ("GRID_GCO2E_PER_KWH", "2001"),
        ("GRID_GCO2E_PER_KWH", "nan"),
    ],
)
def test_senseless_values_are_refused_by_name(settings, name, value):
    with pytest.raises(ValidationError, match=name.lower()):
        settings(**{name: value})


def test_a_cpu_slot_accepts_as_many_processes_as_there_are_cores_but_two_at_least(settings, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5})
    (slot,) = slots(settings(DEVICE="cpu"))
    assert (slot.device, slot.devices, slot.threads(2)) == ("cpu", 6, 3)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert slots(settings(DEVICE="cpu"))[0].devices == 2


def test_cpu_training_sees_no_gpu(settings):
    assert slots(settings(DEVICE="cpu"))[0].environment(1) == {"CUDA_VISIBLE_DEVICES": ""}


def test_gpus_are_split_over_the_slots_without_overlap(settings, monkeypatch):
    monkeypatch.setattr("worker.devices.visible_gpus", lambda: ["0", "1", "GPU-a", "GPU-b"])
    first, second = slots(settings(SLOTS="2"))
    assert (first.device, first.devices, second.devices) == ("cuda", 2, 2)
    assert first.environment(2) == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert second.environment(1) == {"CUDA_VISIBLE_DEVICES": "GPU-a"}


@pytest.mark.parametrize("each", [{"SLOTS": "3"}, {"DEVICES_PER_SLOT": "3"}])
def test_more_gpus_than_there_are_is_an_error_that_says_what_to_change(settings, monkeypatch, each):
    monkeypatch.setattr("worker.devices.visible_gpus", lambda: ["0", "1"])
    with pytest.raises(ValueError, match="CPT_SLOTS"):
        slots(settings(**{"SLOTS": "1", **each}))


def test_asking_for_gpus_where_there_are_none_is_an_error(settings, monkeypatch):
    monkeypatch.setattr("worker.devices.visible_gpus", list)
    with pytest.raises(ValueError, match="no GPU"):
        slots(settings(DEVICE="cuda"))
