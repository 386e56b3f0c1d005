// The columns of the table of jobs: what a cell says, and by what its column is sorted.

import { h, put, fill } from "../core/dom.js";
import * as format from "../core/format.js";
import { best, energyOf, progressBar, progressText, stateBadge } from "../core/job.js";

const missing = Number.NEGATIVE_INFINITY;
const STATES = ["running", "starting", "queued", "paused", "failed", "cancelled", "succeeded"];

// `show(cell, job, now)` brings a cell up to date in place.
export const COLUMNS = [
  {
    id: "name", label: "Job", class: "name", sort: (job) => job.name.toLowerCase(), ascending: true,
    show(cell, job) {
      const anchor = cell.querySelector("a") ?? h("a", { href: `/jobs/${job.id}` });
      put(anchor, job.name);
      const below = cell.querySelector(".below") ?? h("div", { class: "below small faint" });
      put(below, `${job.spec.model.name} · ${job.spec.dataset.name} · ${job.id.slice(4, 12)}`);
      if (!anchor.parentNode) cell.append(anchor, below);
    },
  },
  {
    id: "state", label: "State", class: "stands", sort: (job) => STATES.indexOf(job.state), ascending: true,
    show: (cell, job) => changed(cell, `${job.state}${job.cancel_requested}${job.pause_requested}`) && fill(cell, stateBadge(job)),
  },
  {
    id: "progress", label: "Progress", class: "how-far", sort: (job) => job.progress.fraction,
    show(cell, job, now) {
      let bar = cell.querySelector("progress");
      if (!bar) fill(cell, (bar = progressBar(job)), h("div", { class: "under" }, h("span"), h("span")));
      bar.value = job.progress.fraction;
      bar.className = `progress ${job.state}`;
      const [done, left] = cell.querySelectorAll(".under span");
      put(done, `${format.whole(job.progress.step)} / ${format.whole(job.progress.steps)}`);
      put(left, progressText(job, now));
    },
  },
  {
    id: "bits", label: "Bits", title: "Forward / backward bit width of the latest step", class: "right", sort: (job) => job.latest?.forward_bits ?? missing,
    show: (cell, job) => put(cell, job.latest ? `${format.shortBits(job.latest.forward_bits)} / ${format.shortBits(job.latest.backward_bits)}` : format.NONE),
  },
  {
    id: "loss", label: "Loss", title: "Training loss of the latest step", class: "right", sort: (job) => -(job.latest?.loss ?? -missing),
    show: (cell, job) => put(cell, job.latest ? job.latest.loss.toFixed(4) : format.NONE),
  },
  {
    id: "quality", label: "Quality", title: "Accuracy or perplexity of the latest evaluation, or of the result", class: "right",
    sort: (job) => best(job)?.accuracy ?? -(best(job)?.loss ?? -missing),
    show: (cell, job) => put(cell, format.quality(best(job))),
  },
  {
    id: "saved", label: "Saved", title: "GBitOPs saved against static training at the highest bits", class: "right",
    sort: (job) => job.cost?.saved_vs_static ?? missing,
    show: (cell, job) => put(cell, job.cost ? format.percent(job.cost.saved_vs_static) : format.NONE),
  },
  {
    id: "energy", label: "Energy", title: "Measured where there is a counter, else modelled (≈)", class: "right",
    sort: (job) => energyOf(job).measured ?? energyOf(job).modelled ?? missing,
    show(cell, job) {
      const { measured, modelled } = energyOf(job);
      put(cell, measured !== null && measured !== undefined ? format.joules(measured) : modelled === null ? format.NONE : `≈ ${format.joules(modelled)}`);
    },
  },
  {
    id: "age", label: "Age", class: "right", sort: (job) => Date.parse(job.created_at),
    show(cell, job, now) {
      put(cell, format.age(job.created_at, now));
      cell.title = format.moment(job.created_at);
    },
  },
];

function changed(cell, mark) {
  if (cell.dataset.mark === mark) return false;
  cell.dataset.mark = mark;
  return true;
}
