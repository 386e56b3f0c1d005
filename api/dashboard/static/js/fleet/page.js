// Workers and queues: who is there, what they do, and what waits.

import { card, fill, h, link } from "../core/dom.js";
import { get } from "../core/api.js";
import * as format from "../core/format.js";
import { showConnection } from "../core/stream.js";

const EVERY = 3_000;

export async function show(main, { signal }) {
  document.title = "Workers · CPT";
  const [workers, queues] = [h("div", { class: "flush" }), h("div", { class: "flush" })];
  const load = async () => {
    const [found, waiting] = await Promise.all(["workers", "queues"].map((kind) => get(`/v1/${kind}`, { signal })));
    fill(workers, showWorkers(found.data));
    fill(queues, showQueues(waiting.data));
  };
  await load();
  fill(main, h("div", { class: "page-head" }, h("h1", {}, "Workers and queues")), h("div", { class: "stack" }, card("Workers", { body: workers, flush: true }), card("Queues", { body: queues, flush: true })));
  const timer = setInterval(() => load().then(() => showConnection(true), () => signal.aborted || showConnection(false)), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

const column = (text, right) => h("th", { scope: "col", class: right ? "right" : null }, text);

function showWorkers(workers) {
  if (!workers.length) {
    return h("div", { class: "empty" }, h("h2", {}, "No worker is there"), h("p", {}, "Jobs wait until one comes. Start it on a machine that reaches this server, with its agent token:"), h("pre", { class: "code", tabindex: "0" }, "CPT_API_URL=… CPT_BROKER_URL=… CPT_AGENT_TOKEN=… python -m worker"));
  }
  const rows = workers.map((worker) =>
    h("tr", {},
      h("th", { scope: "row" }, worker.name),
      h("td", {}, h("span", { class: `state ${worker.online ? (worker.busy ? "running" : "idle") : "offline"}` }, worker.online ? (worker.busy ? "working" : "idle") : "offline")),
      h("td", {}, slots(worker), h("span", { class: "num" }, `${worker.busy} of ${worker.slots}`)),
      h("td", {}, `${worker.devices} × ${worker.device}`),
      h("td", {}, worker.jobs.length ? worker.jobs.map((id) => h("div", {}, link(`/jobs/${id}`, id))) : h("span", { class: "faint" }, "none of this project")),
      h("td", {}, worker.queues.join(", ")),
      h("td", {}, worker.labels.join(", ") || format.NONE),
      h("td", { class: "right", title: format.moment(worker.seen_at) }, heard(worker.seen_at)),
    ),
  );
  return h("table", { class: "table" }, h("thead", {}, h("tr", {}, column("Worker"), column("State"), column("Slots"), column("Devices"), column("Jobs"), column("Queues"), column("Labels"), column("Heard of", true))), h("tbody", {}, ...rows));
}

function slots(worker) {
  return h("span", { class: "slots", "aria-hidden": "true" }, ...Array.from({ length: Math.min(worker.slots, 16) }, (_, index) => h("i", { class: index < worker.busy ? "busy" : null })));
}

function heard(at) {
  const seconds = Math.max(0, (Date.now() - Date.parse(at)) / 1000);
  return `${format.duration(seconds)} ago`;
}

function showQueues(queues) {
  if (!queues.length) return h("p", { class: "waiting" }, "No queue has jobs or workers.");
  const rows = queues.map((queue) =>
    h("tr", {},
      h("th", { scope: "row" }, queue.name),
      h("td", { class: "right" }, format.whole(queue.queued)),
      h("td", { class: "right" }, format.whole(queue.running)),
      h("td", { class: "right" }, format.whole(queue.paused)),
      h("td", { class: "right" }, queue.oldest_queued_at ? heard(queue.oldest_queued_at).replace(" ago", "") : format.NONE),
      h("td", { class: "right" }, queue.workers ? format.whole(queue.workers) : h("span", { class: "state failed" }, "none")),
    ),
  );
  return h("table", { class: "table" }, h("thead", {}, h("tr", {}, column("Queue"), column("Waiting", true), column("Running", true), column("Paused", true), column("Longest wait", true), column("Workers online", true))), h("tbody", {}, ...rows));
}
