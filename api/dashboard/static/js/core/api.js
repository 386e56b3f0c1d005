// Requests to the public API. What goes wrong is a Problem with the server's own sentence, field errors and remedy.

import { askForKey, authorization } from "./session.js";
import { h } from "./dom.js";

export class Problem extends Error {
  constructor(fields) {
    super(fields.detail ?? fields.title ?? "Something went wrong");
    Object.assign(this, { status: 0, code: "unknown", errors: [] }, fields);
  }
}

const UNREACHABLE = {
  code: "unreachable",
  title: "The server does not answer",
  detail: "The server cannot be reached. Is it running, and is this machine online? The page goes on by itself once it answers.",
};

export async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, { method, body, signal, cache: "no-store", headers: { ...headers, ...authorization() } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(UNREACHABLE);
    }
    if (answer.ok) return answer;
    const problem = await problemOf(answer);
    if (answer.status !== 401) throw problem;
    await askForKey(authorization().Authorization ? problem.message : null);
  }
}

async function problemOf(answer) {
  try {
    return new Problem({ ...(await answer.json()), requestId: answer.headers.get("X-Request-Id") });
  } catch {
    return new Problem({ status: answer.status, title: answer.statusText, detail: `The server answered ${answer.status} ${answer.statusText}.` });
  }
}

export const get = async (path, options = {}) => (await send(path, options)).json();

export async function post(path, document, { once = false, ...options } = {}) {
  const headers = document === undefined ? {} : { "Content-Type": "application/json" };
  if (once) headers["Idempotency-Key"] = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  const body = document === undefined ? undefined : JSON.stringify(document);
  return (await send(path, { method: "POST", body, headers, ...options })).json();
}

// All pages of a list, at most so many items.
export async function all(path, { most = 1000, limit = 100, cursor = "cursor", ...options } = {}) {
  const found = [];
  let next = null;
  do {
    const query = new URLSearchParams({ limit: String(limit), ...(next ? { [cursor]: next } : {}) });
    const page = await get(`${path}${path.includes("?") ? "&" : "?"}${query}`, options);
    found.push(...page.data);
    next = page.has_more ? page.next_cursor : null;
  } while (next && found.length < most);
  return found;
}

// A file to keep. With a key it cannot be a plain link, which sends no headers.
export async function download(path, name, headers = {}) {
  const answer = await send(path, { headers });
  const url = URL.createObjectURL(await answer.blob());
  const anchor = h("a", { href: url, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// What went wrong, as the server says it: the sentence, and each field at fault.
export function notice(problem, retry) {
  const faults = problem.errors?.filter((fault) => fault.pointer || fault.parameter) ?? [];
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("strong", {}, problem.title ?? "Something went wrong"),
    h("p", {}, problem.message),
    faults.length > 1 ? h("ul", {}, ...faults.map((fault) => h("li", {}, h("code", {}, fault.pointer ?? fault.parameter), ` ${fault.message}`))) : null,
    problem.requestId ? h("p", { class: "small faint" }, `${problem.code} · request ${problem.requestId}`) : null,
    retry ? h("p", {}, h("button", { class: "button small", type: "button", onclick: retry }, "Try again")) : null,
  );
}
