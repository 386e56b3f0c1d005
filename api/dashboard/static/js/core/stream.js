// Server-sent events read with fetch, since EventSource sends no key. A broken connection goes on behind the last id.

import { authorization, askForKey } from "./session.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 8_000;

// Calls onevent(type, data, id) for each event until `end` or the signal; onconnection(connected) as that changes.
export async function follow(path, { after = null, signal, onevent, onconnection = () => {} }) {
  let last = after;
  let wait = FIRST_WAIT;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", ...authorization() };
      if (last !== null) headers["Last-Event-ID"] = String(last);
      const answer = await fetch(path, { headers, signal, cache: "no-store" });
      if (answer.status === 401) {
        await askForKey("The server does not know this key.");
        continue;
      }
      if (answer.status === 404 || answer.status === 422) return;
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      onconnection(true);
      for await (const event of events(answer.body)) {
        wait = FIRST_WAIT;
        if (event.id) last = event.id;
        if (event.type === "end") return void onevent("end", JSON.parse(event.data));
        onevent(event.type, JSON.parse(event.data), event.id);
      }
    } catch (error) {
      if (signal.aborted) return;
    }
    onconnection(false);
    await pause(wait * (0.75 + Math.random() / 2), signal);
    wait = Math.min(LONGEST_WAIT, wait * 2);
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { type: "message", data: "", id: null };
      for (const line of block.split("\n")) {
        const colon = line.indexOf(":");
        if (colon < 1) continue; // a comment keeps the connection open
        const [name, content] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
        if (name === "event") event.type = content;
        else if (name === "data") event.data += content;
        else if (name === "id") event.id = content;
      }
      if (event.data) yield event;
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

// The sign in the bar while what is shown may be out of date.
export function showConnection(connected) {
  const sign = document.getElementById("connection");
  sign.hidden = connected;
  sign.textContent = connected ? "" : "● reconnecting …";
}
