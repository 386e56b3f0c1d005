"""What tools/ makes of other files is what lies there."""

from __future__ import annotations

from tools import recipes_gallery, schedule_pictures, spec_reference, sync_client

STALE = "run `make generated`"


def test_the_synchronous_client_is_the_asynchronous_one_without_await() -> None:
    made = sync_client.made()
    assert {path: path.read_text(encoding="utf-8") for path in made} == made, STALE
    by_hand = {sync_client.TARGET / name for name in sync_client.BY_HAND}
    assert set(sync_client.TARGET.glob("*.py")) == set(made) | by_hand, "a file that nothing is made from any more"


def test_the_reference_of_the_job_spec_is_the_models() -> None:
    assert spec_reference.PAGE.read_text(encoding="utf-8") == spec_reference.made(), STALE


def test_the_drawn_schedules_are_those_that_train() -> None:
    made = schedule_pictures.made()
    assert {path: path.read_text(encoding="utf-8") for path in made} == made, STALE


def test_the_gallery_has_every_recipe() -> None:
    assert recipes_gallery.PAGE.read_text(encoding="utf-8") == recipes_gallery.made(), STALE
