// Checkpoints to download, and pictures among the artifacts.

import { button, card, fill, h, waiting } from "../core/dom.js";
import { all, download, notice, send } from "../core/api.js";
import * as format from "../core/format.js";

export class Files {
  constructor(job, signal) {
    Object.assign(this, { job, signal });
    this.checkpoints = h("div", { class: "file-list" }, waiting());
    this.pictures = h("div", { class: "stack" });
    this.element = card("Checkpoints", { body: this.checkpoints, flush: true });
  }

  async load() {
    try {
      const [checkpoints, artifacts] = await Promise.all(
        ["checkpoints", "artifacts"].map((kind) => all(`/v1/jobs/${this.job.id}/${kind}`, { signal: this.signal })),
      );
      this.showCheckpoints(checkpoints);
      this.showPictures(artifacts.filter((artifact) => artifact.media_type.startsWith("image/"))).catch((problem) => {
        if (problem.name !== "AbortError") fill(this.pictures, notice(problem));
      });
    } catch (problem) {
      if (problem.name !== "AbortError") fill(this.checkpoints, notice(problem, () => this.load()));
    }
  }

  showCheckpoints(checkpoints) {
    if (!checkpoints.length) return void fill(this.checkpoints, h("p", { class: "waiting" }, `None yet. One is saved every ${format.whole(this.job.spec.checkpoint.every_steps)} steps and at the end.`));
    const rows = checkpoints.map((found) =>
      h(
        "tr", {},
        h("td", { class: "right" }, format.whole(found.step)),
        h("td", {}, found.kind === "best" ? "best" : ""),
        h("td", { class: "right" }, format.bytes(found.size)),
        h("td", { class: "right" }, button("Weights", () => this.save(found), { tone: "small", "aria-label": `Download the weights at step ${found.step}` })),
      ),
    );
    fill(
      this.checkpoints,
      h("table", { class: "table files" }, h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "right" }, "Step"), h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Kind")), h("th", { scope: "col", class: "right" }, "Size"), h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Download")))), h("tbody", {}, ...rows)),
    );
  }

  async save(checkpoint) {
    try {
      await download(`/v1/jobs/${this.job.id}/checkpoints/${checkpoint.id}/weights`, `${this.job.id}-step-${checkpoint.step}.safetensors`);
    } catch (problem) {
      this.checkpoints.prepend(notice(problem));
    }
  }

  async showPictures(artifacts) {
    const drawn = await Promise.all(
      artifacts.map(async (artifact) => {
        const answer = await send(`/v1/jobs/${this.job.id}/artifacts/${artifact.id}/content`, { signal: this.signal });
        const source = URL.createObjectURL(await answer.blob());
        this.signal.addEventListener("abort", () => URL.revokeObjectURL(source));
        return card(artifact.name, { body: h("img", { class: "picture", src: source, alt: artifact.name }) });
      }),
    );
    fill(this.pictures, ...drawn);
  }
}
