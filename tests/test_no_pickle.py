"""Nothing that comes from a user is ever turned into code: no source asks for it, and a prepared file does nothing."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.message import Message
from kombu.serialization import prepare_accept_content
from pydantic import SecretStr, ValidationError

from cpt_core import data
from cpt_core.checkpoint.files import CheckpointError, publish
from cpt_core.checkpoint.state import load
from cpt_core.data.cache import Cache
from cpt_core.spec import JobSpec, reading
from tests.api.factories import spec_document
from worker.app import celery_app
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "worker", "cpt_core", "cpt_client", "migrations")

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "codeop"}
"""Modules that make code or objects of bytes."""
CALLS = {"eval", "exec", "compile", "__import__"}
"""Built-in functions that do."""
METHODS = {
    ("yaml", "load"), ("yaml", "load_all"), ("yaml", "unsafe_load"), ("yaml", "full_load"),
    ("torch", "load"), ("np", "load"), ("numpy", "load"), ("pd", "read_pickle"),
    ("os", "system"), ("os", "popen"),
}  # fmt: skip
"""Functions of modules that do, or may."""


def sources() -> Iterator[tuple[Path, ast.AST]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield path.relative_to(ROOT), node


def offence(node: ast.AST) -> str | None:
    """What in this piece of source makes code or objects of bytes."""
    match node:
        case ast.Import(names=names) if found := {name.name.partition(".")[0] for name in names} & MODULES:
            return f"import {found}"
        case ast.ImportFrom(module=str(module), level=0) if module.partition(".")[0] in MODULES:
            return f"from {module}"
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name)) if (module, name) in METHODS:
            return f"{module}.{name}"
        case ast.keyword(arg="allow_pickle" | "shell" as name, value=ast.Constant(value=True)):
            return f"{name}=True"
        case ast.keyword(arg="weights_only", value=ast.Constant(value=False)):
            return "weights_only=False"
        case _:
            return None


def test_no_source_turns_bytes_into_code() -> None:
    assert [f"{path}: {what}" for path, node in sources() if (what := offence(node))] == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "eval('1')", "torch.load(f)", "yaml.load(f)",
     "np.load(f, allow_pickle=True)", "f(shell=True)", "f(weights_only=False)"],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert [what for node in ast.walk(ast.parse(source)) if (what := offence(node))]


class Trap:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sprung,)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


def test_the_trap_works(sprung: Path) -> None:
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


def test_a_pickle_in_a_checkpoint_is_refused(tmp_path: Path, sprung: Path) -> None:
    """Even where the manifest lists it with its right digest."""
    spec = JobSpec.model_validate(spec_document())
    payload = pickle.dumps(Trap(sprung))
    files = dict.fromkeys(("model.safetensors", "optimizer.safetensors"), payload)
    registered = publish(str(tmp_path), "job/1", step=2, world_size=1, spec=spec, files=files)
    with pytest.raises(CheckpointError, match="no safetensors"):
        load(str(tmp_path), registered)
    assert not sprung.exists()


def test_a_manifest_cannot_name_a_file_of_another_kind(tmp_path: Path) -> None:
    spec = JobSpec.model_validate(spec_document())
    with pytest.raises(ValidationError):
        publish(str(tmp_path), "job/1", step=2, world_size=1, spec=spec, files={"model.pkl": b""})


@pytest.mark.parametrize(
    ("dataset", "files"),
    [
        ({"name": "cifar10", "path": "d"}, [f"cifar-10-batches-py/data_batch_{n}" for n in range(1, 6)]
         + ["cifar-10-batches-py/test_batch", "cifar-10-batches-py/batches.meta"]),
        ({"name": "cifar100", "path": "d"}, [f"cifar-100-python/{name}" for name in ("train", "test", "meta")]),
        ({"name": "idx", "path": "d"}, [f"{split}-{kind}-ubyte" for split in ("train", "t10k")
                                        for kind in ("images-idx3", "labels-idx1")]),
    ],
)  # fmt: skip
def test_a_pickle_in_a_dataset_is_refused(
    tmp_path: Path, sprung: Path, dataset: dict[str, str], files: list[str]
) -> None:
    for name in files:
        path = tmp_path / "d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(Trap(sprung)))
    spec = JobSpec.model_validate(spec_document(dataset=dataset))
    with pytest.raises(data.DataError):
        data.load(spec.dataset, tmp_path)  # type: ignore[arg-type]
    assert not sprung.exists()


def test_a_pickle_in_the_cache_counts_as_none(tmp_path: Path, sprung: Path) -> None:
    (tmp_path / "entry.safetensors").write_bytes(pickle.dumps(Trap(sprung)))
    assert Cache(tmp_path, "entry").read() is None
    assert not sprung.exists()


def test_a_spec_cannot_call_anything(tmp_path: Path, sprung: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"name: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{sprung}]]")
    with pytest.raises(ValueError, match="not valid YAML"):
        reading.load(spec)
    assert not sprung.exists()


def test_the_worker_reads_doorbells_as_json_alone(sprung: Path) -> None:
    app = celery_app(WorkerSettings(agent_token=SecretStr("an-agent-token-for-tests")))
    accepted = prepare_accept_content(app.conf.accept_content)
    message = Message(
        body=pickle.dumps(Trap(sprung)),
        content_type="application/x-python-serialize",
        content_encoding="binary",
        accept=accepted,
    )
    with pytest.raises(ContentDisallowed):
        message.decode()
    assert not sprung.exists()
    assert accepted == {"application/json"}
