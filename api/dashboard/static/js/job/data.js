// A job's history and what comes after it, without a gap: a thinned sample of its steps, all other events, then the stream.

import { get } from "../core/api.js";
import { follow } from "../core/stream.js";
import { Curve } from "../charts/series.js";

export const KEYS = ["loss", "accuracy", "forward_bits", "backward_bits", "gbitops", "modelled_joules", "energy_joules", "lr"];
const POINTS = 1500;
const GROWN = 4000;
const EVENTS = 1000;

export class JobData {
  constructor(id, signal, { onchange, onconnection }) {
    Object.assign(this, { id, signal, onchange, onconnection });
    this.curves = Object.fromEntries(KEYS.map((key) => [key, new Curve()]));
    this.events = [];
    this.known = new Set();
    this.position = 0;
    this.grown = 0;
  }

  // Fulfilled when what was there is read; the stream goes on from there.
  async load() {
    await Promise.all([this.sample(), this.past()]);
    this.stream();
  }

  async sample(range = {}) {
    const query = new URLSearchParams({ keys: KEYS.join(","), max_points: String(POINTS), ...range });
    const found = await get(`/v1/jobs/${this.id}/metrics?${query}`, { signal: this.signal });
    if (range.from_step !== undefined) return found;
    for (const key of KEYS) this.curves[key] = new Curve(found.series[key] ?? []);
    this.bucket = found.bucket_steps;
    this.grown = 0;
    if (found.to_step !== null) {
      const last = await get(`/v1/jobs/${this.id}/metrics?keys=loss&limit=1&from_step=${found.to_step}`, { signal: this.signal });
      this.position = Math.max(this.position, last.data[0]?.id ?? 0);
    }
    return found;
  }

  async past() {
    let after = 0;
    for (let page = 0; page < 5; page += 1) {
      const found = await get(`/v1/jobs/${this.id}/events?limit=${EVENTS}&after=${after}`, { signal: this.signal });
      found.data.forEach((event) => this.take(event));
      if (!found.has_more) return;
      after = found.next_cursor;
    }
  }

  take(event) {
    if (this.known.has(event.id)) return false;
    this.known.add(event.id);
    this.events.push(event);
    return true;
  }

  stream() {
    follow(`/v1/jobs/${this.id}/stream`, {
      after: this.position || null,
      signal: this.signal,
      onconnection: this.onconnection,
      onevent: (type, data) => {
        if (type === "end") return this.onchange("end", data);
        if (type === "step") this.step(data);
        else if (!this.take(data)) return;
        else if (type === "started") this.again(data.resume_step);
        this.onchange(type, data);
      },
    });
  }

  step(step) {
    for (const key of KEYS) this.curves[key].push(step.step, step[key]);
    this.grown += 1;
    if (this.grown > GROWN) {
      this.grown = 0;
      this.sample().catch(() => {});
    }
  }

  again(from) {
    for (const key of KEYS) this.curves[key].cut(from);
  }

  of(type) {
    return this.events.filter((event) => event.type === type);
  }
}
