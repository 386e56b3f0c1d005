"""HTTP for recipes."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import Reader
from api.jobs.schemas import Page
from api.problems import documented
from api.recipes import service
from api.recipes.schemas import RecipeView

router = APIRouter(prefix="/v1", tags=["recipes"])


@router.get("/recipes", responses=documented())
def list_recipes(caller: Reader) -> Page[RecipeView]:  # noqa: ARG001 - asks for a key
    """The recipes of this version, by id, all on one page: specs to submit as they are or to begin with."""
    return Page(data=list(service.recipes()), has_more=False, next_cursor=None)
