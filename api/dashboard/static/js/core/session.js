// The API key, where the server asks for one: kept until the tab is closed, sent to this server alone.

import { h, button } from "./dom.js";

const STORED = "cpt-api-key";
let asking = null;

export const key = () => sessionStorage.getItem(STORED);

export function authorization() {
  const found = key();
  return found ? { Authorization: `Bearer ${found}` } : {};
}

// Asks once, however many requests need it; fulfilled when a key was given.
export function askForKey(why) {
  asking ??= ask(why).finally(() => (asking = null));
  return asking;
}

function ask(why) {
  return new Promise((resolve) => {
    const input = h("input", {
      class: "input mono", id: "api-key", type: "password", autocomplete: "off", spellcheck: "false", required: true, placeholder: "cpt_…",
      "aria-describedby": "api-key-hint",
    });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: "api-key-title" }, "This server asks for an API key"),
      why ? h("p", { class: "soft" }, why) : null,
      h(
        "div", { class: "field" },
        h("label", { for: "api-key" }, "API key"),
        input,
        h("p", { class: "hint", id: "api-key-hint" }, "It is kept in this tab alone, until you close it. An operator makes keys with `cpt keys create`."),
      ),
      h("div", { class: "actions" }, h("button", { class: "button primary", type: "submit" }, "Continue")),
    );
    const dialog = h("dialog", { "aria-labelledby": "api-key-title" }, form);
    dialog.addEventListener("cancel", (event) => event.preventDefault()); // without a key there is nothing behind it
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!input.value.trim()) return;
      sessionStorage.setItem(STORED, input.value.trim());
      dialog.close();
      dialog.remove();
      showKeyButton();
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}

export function showKeyButton() {
  const forget = document.getElementById("key");
  forget.hidden = !key();
  forget.onclick = () => {
    const leave = button("Forget the key", () => {
      sessionStorage.removeItem(STORED);
      location.reload();
    }, { tone: "primary" });
    const dialog = h(
      "dialog", { "aria-labelledby": "forget-title" },
      h(
        "form", { method: "dialog" },
        h("h2", { id: "forget-title" }, "Your API key"),
        h("p", { class: "soft" }, `This tab uses the key ${key().split("_").slice(0, 2).join("_")}_….`),
        h("div", { class: "actions" }, h("button", { class: "button", type: "submit" }, "Keep it"), leave),
      ),
    );
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  };
}
