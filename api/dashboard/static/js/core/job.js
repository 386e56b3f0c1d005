// What several pages say of a job.

import { h, toast } from "./dom.js";
import { post, send } from "./api.js";
import * as format from "./format.js";

export const FINAL = new Set(["succeeded", "failed", "cancelled"]);
export const ACTIVE = new Set(["starting", "running"]);

export function stateBadge(job) {
  const asked = job.cancel_requested && !FINAL.has(job.state) ? "cancelling" : job.pause_requested ? "pausing" : job.state;
  return h("span", { class: `state ${job.state}` }, asked);
}

export const best = (job) => job.result ?? job.evaluation;

export function energyOf(job) {
  const result = job.result;
  if (result) return { measured: result.energy_joules, modelled: result.modelled_joules };
  return { measured: job.energy?.measured.joules ?? null, modelled: job.energy?.modelled.joules ?? null };
}

export function progressText(job, now = Date.now()) {
  const { progress } = job;
  if (job.state === "queued") return `waiting ${format.age(job.queued_at ?? job.created_at, now)}`.replace("waiting now", "waiting");
  if (job.state === "starting") return "starting";
  if (FINAL.has(job.state) && job.started_at && job.finished_at) {
    return `took ${format.duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000)}`;
  }
  if (job.state === "running" && progress.eta_seconds !== null) return `${format.duration(progress.eta_seconds)} left`;
  return "";
}

export function progressBar(job) {
  return h("progress", { class: `progress ${job.state}`, max: "1", value: job.progress.fraction, "aria-label": `Progress of ${job.name}` });
}

const LABELS = {
  cancel: "Cancel", pause: "Pause", resume: "Resume", retry: "Retry", clone: "Clone", archive: "Archive", unarchive: "Unarchive", delete: "Delete",
};
const ASK = {
  cancel: "Cancel this job? What it has learnt since its last checkpoint is lost.",
  delete: "Delete this job for good, with its metrics, logs and checkpoints?",
};
export const actionLabel = (action) => LABELS[action] ?? format.capital(action);

// Does what an action's button says; returns the job as it is then, or null when it is gone.
export async function act(job, action) {
  if (ASK[action] && !(await confirmed(ASK[action], actionLabel(action)))) return job;
  const path = `/v1/jobs/${job.id}`;
  if (action === "delete") {
    await send(path, { method: "DELETE" });
    toast(`Deleted ${job.name}`);
    return null;
  }
  const makesOne = action === "retry";
  const found = await post(`${path}/${action}`, makesOne ? {} : undefined, { once: makesOne });
  toast(makesOne ? `Submitted ${found.name} again` : `${actionLabel(action)}: ${found.name}`);
  return found;
}

export function confirmed(question, yes) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog", { "aria-labelledby": "question" },
      h(
        "form", { method: "dialog" },
        h("h2", { id: "question" }, question),
        h(
          "div", { class: "actions" },
          h("button", { class: "button", value: "no", type: "submit", autofocus: true }, "No"),
          h("button", { class: "button danger", value: "yes", type: "submit" }, yes),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
