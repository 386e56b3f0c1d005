"""HTTP for operators: how the service does."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import Operator, ServicesDep
from api.doctor import service
from api.doctor.schemas import ReportView
from api.problems import documented

router = APIRouter(prefix="/v1", tags=["health"])


@router.get("/doctor", responses=documented())
def get_doctor_report(services: ServicesDep, _caller: Operator) -> ReportView:
    """How the parts of the service do: database, broker, workers, storage, clock. What is not well says what to do.

    A part that is away makes the answer wait for its time-out. A small file is written to the storage, and deleted.
    """
    return service.report(services.database, services.bells, services.storage)
