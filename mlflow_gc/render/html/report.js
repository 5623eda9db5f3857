// The page apart from its table: theme, copying, and expiry.
"use strict";
(() => {
  const root = document.documentElement;
  // Before anything is drawn, so that the fallback for readers without scripts does not flash.
  root.classList.add("scripts");

  // Storage is missing or throws in sandboxed viewers; the page works without it.
  const remembered = {
    get() {
      try {
        return localStorage.getItem("mlflow-gc-theme");
      } catch {
        return null;
      }
    },
    set(theme) {
      try {
        if (theme) localStorage.setItem("mlflow-gc-theme", theme);
        else localStorage.removeItem("mlflow-gc-theme");
      } catch {
        // The theme is not stored then.
      }
    },
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = ["light", "dark"].find((theme) => theme === remembered.get()) || "";

  function isDark() {
    return chosen ? chosen === "dark" : system.matches;
  }

  function applyTheme() {
    if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
    const button = document.getElementById("theme");
    if (!button) return;
    button.hidden = false;
    button.textContent = isDark() ? "Light theme" : "Dark theme";
  }

  function toggleTheme() {
    const wanted = isDark() ? "light" : "dark";
    // Choosing the system's theme means following it again.
    chosen = (wanted === "dark") === system.matches ? "" : wanted;
    remembered.set(chosen);
    applyTheme();
  }

  applyTheme();
  system.addEventListener("change", applyTheme);

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    const words = button.textContent;
    let done = false;
    try {
      await navigator.clipboard.writeText(source.textContent);
      done = true;
    } catch {
      // No permission, or no secure context: use the old API.
      getSelection().selectAllChildren(source);
      done = document.execCommand("copy");
    }
    const said = document.getElementById("said");
    said.textContent = done ? "Copied." : "Selected: press Ctrl+C or ⌘C to copy.";
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => {
      button.textContent = words;
      said.textContent = "";
    }, 2000);
  }

  function inWords(milliseconds) {
    const units = [["day", 86400000], ["hour", 3600000], ["minute", 60000]];
    const [unit, size] = units.find(([, size]) => milliseconds >= size) || units[2];
    const count = Math.max(1, Math.floor(milliseconds / size));
    return `${count} ${unit}${count === 1 ? "" : "s"}`;
  }

  function watchTheClock() {
    const expires = Number(document.querySelector("main").dataset.expires);
    if (!expires) return;
    const left = expires - Date.now();
    const words = left > 0 ? `in ${inWords(left)}` : `expired ${inWords(-left)} ago`;
    document.getElementById("time-left").textContent = `(${words})`;
    if (left > 0) return;
    document.getElementById("expired").hidden = false;
    const command = document.getElementById("apply");
    if (command) command.hidden = true;
  }

  document.addEventListener("DOMContentLoaded", () => {
    applyTheme();
    document.getElementById("theme").addEventListener("click", toggleTheme);
    const said = document.createElement("p");
    said.id = "said";
    said.className = "unseen";
    said.setAttribute("role", "status");
    document.body.append(said);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-copy]");
      if (button) copy(button);
    });
    for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
    watchTheClock();
    setInterval(watchTheClock, 30000);
  });
})();
