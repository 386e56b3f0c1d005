// Elements out of data. Text goes in as text nodes alone, so nothing that somebody named is ever read as markup.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  fill(element, ...children);
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Sets a text only where it differs, so that a screen reader and a selection are left in peace.
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function announce(text) {
  put(document.getElementById("announcer"), text);
}

export function toast(text, tone = "good") {
  const close = () => box.remove();
  const box = h(
    "div",
    { class: `toast fade ${tone}`, role: tone === "bad" ? "alert" : "status" },
    text,
    h("button", { class: "button quiet icon small", type: "button", "aria-label": "Dismiss", onclick: close }, "×"),
  );
  document.getElementById("toasts").append(box);
  setTimeout(close, tone === "bad" ? 20_000 : 5_000);
}

export function link(href, ...children) {
  return h("a", { href }, ...children);
}

export function card(title, { actions = [], body, flush = false, id } = {}) {
  const heading = h("h2", id ? { id } : {}, title);
  return h(
    "section",
    { class: "card", "aria-label": title },
    h("header", {}, heading, actions.length ? h("div", { class: "actions" }, ...actions) : null),
    h("div", { class: flush ? "flush" : "body" }, body),
  );
}

export function button(text, onclick, { tone = "", ...rest } = {}) {
  return h("button", { type: "button", class: `button ${tone}`.trim(), onclick, ...rest }, text);
}

export function waiting(text = "Loading …") {
  return h("p", { class: "waiting" }, text);
}

// Calls at most once a frame's time, and at the end for certain.
export function throttled(milliseconds, call) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      call();
    }, milliseconds);
  };
}
