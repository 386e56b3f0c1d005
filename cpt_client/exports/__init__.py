"""Jobs in other tools: MLflow, TensorBoard, Weights & Biases; afterwards, or live.

with Client() as client:
    exports.export(client, job_id, exports.TensorBoard("runs"), follow=True)
    exports.export_all(client, exports.MLflow("sqlite:///mlflow.db"))

An export goes on where the last one to the same place stopped: each step and each evaluation is there once, however
often and however abruptly. What a resumed attempt ran again stays as it was first exported.
"""

from cpt_client.exports.exporting import Exported, ExportError, export, export_all
from cpt_client.exports.mlflow import MLflow
from cpt_client.exports.rows import Row
from cpt_client.exports.target import Marks, Run, Target
from cpt_client.exports.tensorboard import TensorBoard
from cpt_client.exports.wandb import Wandb

__all__ = [
    "ExportError",
    "Exported",
    "MLflow",
    "Marks",
    "Row",
    "Run",
    "Target",
    "TensorBoard",
    "Wandb",
    "export",
    "export_all",
]
