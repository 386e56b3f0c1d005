// Which page an address shows. Links inside go without loading the document anew.

import { fill, waiting } from "./core/dom.js";
import { notice, Problem } from "./core/api.js";
import { showKeyButton } from "./core/session.js";
import { showConnection } from "./core/stream.js";
import { setUpTheme } from "./core/theme.js";

const PAGES = [
  [/^\/$/, () => import("./jobs/page.js"), "/"],
  [/^\/new$/, () => import("./plan/page.js"), "/new"],
  [/^\/jobs\/(job_[0-9a-f]{24})$/, () => import("./job/page.js"), "/"],
  [/^\/compare$/, () => import("./compare/page.js"), "/compare"],
  [/^\/sweeps$/, () => import("./compare/sweeps.js"), "/sweeps"],
  [/^\/sweeps\/(sweep_[0-9a-f]{24})$/, () => import("./compare/page.js"), "/sweeps"],
  [/^\/workers$/, () => import("./fleet/page.js"), "/workers"],
];

const main = document.getElementById("main");
let leaving = new AbortController();

async function show({ focus = false } = {}) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  showConnection(true);
  fill(main, waiting());
  const path = location.pathname;
  const [pattern, load, section] = PAGES.find(([known]) => known.test(path)) ?? [];
  for (const anchor of document.querySelectorAll("#pages a")) {
    if (anchor.getAttribute("href") === section) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  try {
    if (!load) throw new Problem({ title: "There is no such page", detail: `Nothing is at ${path}. The jobs are at /.` });
    const page = await load();
    if (signal.aborted) return;
    await page.show(main, { match: path.match(pattern), query: new URLSearchParams(location.search), signal, go });
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    document.title = "CPT";
    fill(main, notice(error, () => show()));
    if (!(error instanceof Problem)) console.error(error);
  }
  if (focus && !signal.aborted) main.focus({ preventScroll: true });
}

export function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  scrollTo(0, 0);
  return show({ focus: true });
}

document.addEventListener("click", (event) => {
  const anchor = event.target.closest("a[href]");
  if (!anchor || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || anchor.download || anchor.target) return;
  const url = new URL(anchor.href);
  if (url.origin !== location.origin || url.pathname.startsWith("/v1/") || url.pathname.startsWith("/docs") || anchor.classList.contains("skip")) return;
  event.preventDefault();
  go(url.pathname + url.search);
});
addEventListener("popstate", () => show());

setUpTheme(document.getElementById("theme"));
showKeyButton();
show();
