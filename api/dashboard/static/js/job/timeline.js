// Attempts and events, the latest first.

import { fill, h } from "../core/dom.js";
import * as format from "../core/format.js";

const TONES = { warning: "queued", error: "failed" };
const MOST = 300;

// [tone, what, attempt heading?] of an event; null for what says nothing here. `said`: what changes of state tell.
function told(event, said) {
  switch (event.type) {
    case "state":
      return [event.state, `${format.capital(event.state)}${event.message ? `: ${event.message}` : ""}`];
    case "started":
      return ["running", `Attempt ${event.attempt} ${event.resume_step ? `goes on from step ${format.whole(event.resume_step)}` : "began"} on ${event.device}${event.world_size > 1 ? `, ${event.world_size} devices` : ""}`, true];
    case "evaluation":
      return ["", `${format.qualityName(event)} ${format.quality(event)} at ${format.bits(event.bits)}${event.averaged ? ", averaged weights" : ""}, step ${format.whole(event.step)}`];
    case "checkpoint":
      return ["", `Checkpoint at step ${format.whole(event.step)}, ${format.bytes(event.size)}`];
    case "best_checkpoint":
      return ["succeeded", `Best evaluation so far: checkpoint at step ${format.whole(event.step)}`];
    case "range_test":
      return ["starting", event.bounds ? `Range test: ${event.bounds.min_bits} to ${event.bounds.max_bits} bits` : "Range test: no bit width learns"];
    case "cancel_requested":
      return ["cancelled", "Somebody asked to cancel"];
    case "pause_requested":
      return ["paused", "Somebody asked to pause"];
    case "resume_requested":
      return ["queued", "Somebody asked to resume"];
    case "finished":
      return event.outcome === "succeeded" ? null : [event.outcome === "preempted" ? "queued" : event.outcome, `Attempt ${event.attempt} ended (${event.reason})${said.has(event.message) ? "" : `: ${event.message}`}`];
    case "log":
      return event.level === "debug" ? null : [TONES[event.level] ?? "", event.message];
    default:
      return null;
  }
}

export class Timeline {
  constructor(data) {
    this.data = data;
    this.element = h("ol", { class: "timeline", "aria-label": "Events, the latest first", tabindex: "0" });
  }

  show() {
    if (this.shown === this.data.events.length) return;
    this.shown = this.data.events.length;
    const said = new Set(this.data.of("state").map((event) => event.message));
    const rows = [...this.data.events].sort((one, other) => other.id - one.id).map((event) => [event, told(event, said)]).filter(([, what]) => what);
    const items = rows.slice(0, MOST).map(([event, [tone, what, heading]]) =>
      h(
        "li", { class: tone ? `tone-${tone}` : null },
        h("span", { class: "dot", "aria-hidden": "true" }),
        h("div", {}, h("div", { class: heading ? "what attempt" : "what" }, what), h("time", { class: "when", datetime: event.time, title: format.moment(event.time) }, format.clock(event.time))),
      ),
    );
    fill(this.element, ...items, rows.length > MOST ? h("li", {}, h("span"), h("span", { class: "faint" }, `and ${rows.length - MOST} earlier ones`)) : null);
  }
}
