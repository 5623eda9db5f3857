// The table of all entities: filters, pages, details, CSV export.  Its state is the
// fragment of the URL, so that a selection can be sent as a link.
"use strict";
(() => {
  const ROWS_ON_A_PAGE = 100;
  const ROWS_ON_PAPER = 1000;
  const MOST_CHOICES = 500;
  const TYPING_MS = 120;
  const FILTERS = ["q", "fate", "kind", "reason", "in", "owner", "age"];
  const IN_ADDRESS = [...FILTERS, "sort", "page", "open"];
  const SORTS = {
    fate: "What happens",
    kind: "Kind",
    name: "Entity",
    place: "Experiment",
    owner: "Owner",
    last: "", // named by the page
    why: "Why",
  };

  let entities;
  let state = {};
  let matches = [];
  let shown = -1; // the row of the details
  const $ = (id) => document.getElementById(id);
  const table = () => document.querySelector("table.entities");

  // ------------------------------------------------------------------ drawing

  const pages = () => Math.max(1, Math.ceil(matches.length / ROWS_ON_A_PAGE));
  const page = () => Math.min(Math.max(1, Math.floor(Number(state.page)) || 1), pages());

  function drawRows(first, most) {
    const rows = matches.slice(first, first + most).map((row) => drawRow(entities, row));
    const none = element("td", { role: "cell", colspan: 6, class: "note" }, "Nothing matches.");
    table().tBodies[0].replaceChildren(...(rows.length ? rows : [element("tr", { role: "row" }, none)]));
  }

  function drawPage() {
    drawRows((page() - 1) * ROWS_ON_A_PAGE, ROWS_ON_A_PAGE);
  }

  function update() {
    matches = entities.select(state);
    drawPage();
    const words = entities.count === 1 ? "entity" : "entities";
    const some = matches.length === entities.count ? "" : `${inDigits(matches.length)} of `;
    $("count").textContent = `${some}${inDigits(entities.count)} ${words}`;
    $("page").value = page();
    $("page").max = pages();
    $("pages").textContent = inDigits(pages());
    $("previous").disabled = page() === 1;
    $("next").disabled = page() === pages();
    document.querySelector(".pager").hidden = pages() === 1;
    $("clear").hidden = !FILTERS.some((name) => state[name]);
    $("sort").value = state.sort || "";
    for (const button of document.querySelectorAll("button[data-sort]")) {
      const name = button.dataset.sort;
      const direction = { [name]: "ascending", [`-${name}`]: "descending" }[state.sort];
      if (direction) button.parentElement.setAttribute("aria-sort", direction);
      else button.parentElement.removeAttribute("aria-sort");
    }
  }

  // ------------------------------------------------------------------ state

  function readAddress() {
    const found = new URLSearchParams(location.hash.slice(1));
    state = {};
    for (const name of IN_ADDRESS) if (found.get(name)) state[name] = found.get(name);
    if (!Object.hasOwn(FATE_FILTERS, state.fate || "")) delete state.fate;
    if (!Object.hasOwn(SORTS, (state.sort || "").replace(/^-/, ""))) delete state.sort;
    for (const name of FILTERS) {
      const field = $(name);
      const value = state[name] || "";
      // A link may contain a value that is not among the options.
      if (field.options && ![...field.options].some((option) => option.value === value)) {
        field.append(element("option", { value }, cut(value, 80)));
      }
      field.value = value;
    }
  }

  function writeAddress() {
    const named = IN_ADDRESS.filter((name) => state[name]);
    const words = named.map((name) => `${name}=${encodeURIComponent(state[name])}`);
    try {
      history.replaceState(null, "", `#${words.join("&")}`);
    } catch {
      // Some viewers forbid it; everything but the URL still works.
    }
  }

  function change(changes) {
    Object.assign(state, { page: "" }, changes);
    writeAddress();
    update();
  }

  // A link of a chart was followed, or the user went back.
  function onAddress() {
    // "#entities" is an anchor of the page, not a state.
    if (location.hash && !location.hash.includes("=")) return;
    readAddress();
    update();
    openNamed();
    if (location.hash && !state.open) {
      $("entities").scrollIntoView();
      $("entities-title").focus({ preventScroll: true });
    }
  }

  // ------------------------------------------------------------------ details of one entity

  function openNamed() {
    const row = state.open ? entities.find(state.open) : -1;
    if (row >= 0) openRow(row);
    else if ($("details").open) $("details").close();
  }

  function openRow(row) {
    shown = row;
    state.open = entities.keyOf(row);
    writeAddress();
    $("details-body").replaceChildren(...drawDetails(entities, row));
    const place = matches.indexOf(row);
    const words = place < 0 ? "" : `${inDigits(place + 1)} of ${inDigits(matches.length)}`;
    // The name is for screen readers; it is visible below.
    const name = element("span", { class: "unseen" }, `: ${entities.titleOf(row, LONGEST_NAME)}`);
    $("details-place").replaceChildren(words, name);
    $("details-previous").disabled = place <= 0;
    $("details-next").disabled = place < 0 || place === matches.length - 1;
    if (!$("details").open) {
      $("details").showModal();
      $("details-title").focus();
    } else if (document.activeElement.disabled) {
      $("details-close").focus();
    }
    $("details-body").scrollTop = 0;
  }

  function step(by) {
    const next = matches[matches.indexOf(shown) + by];
    if (next !== undefined) openRow(next);
  }

  // ------------------------------------------------------------------ a file for spreadsheets

  function csvCell(value) {
    // Spreadsheet programs evaluate texts that begin like this as formulas.
    const safe = /^\s*[=+\-@|%]/.test(value) ? `'${value}` : value;
    return `"${safe.replaceAll('"', '""')}"`;
  }

  function csvLine(row) {
    const last = entities.lastOf(row);
    return [
      FATES[entities.fateOf(row)],
      KINDS[entities.kindOf(row)],
      entities.idOf(row),
      entities.nameOf(row),
      entities.placeName(entities.placeOf(row)),
      entities.ownerOf(row),
      last === null ? "" : timeInWords(last),
      entities.wordsOf(row).join("; "),
      entities.viaOf(row).join(" <- "),
    ];
  }

  function downloadCsv() {
    const head = ["What happens", "Kind", "Id", "Name", "Experiment or model", "Owner"];
    const lines = [[...head, "Last activity", "Why", "Chain"], ...matches.map(csvLine)];
    const csv = lines.map((line) => `${line.map(csvCell).join(",")}\r\n`).join("");
    const address = URL.createObjectURL(new Blob(["\ufeff", csv], { type: "text/csv" }));
    const link = element("a", { download: "prune-plan-entities.csv" });
    link.href = address;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  // ------------------------------------------------------------------ beginning

  // Add options with their counts, the most frequent first.
  function offer(field, values, textOf) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    const ranked = [...counts].sort((a, b) => b[1] - a[1]).slice(0, MOST_CHOICES);
    for (const [value, count] of ranked) {
      $(field).append(element("option", { value }, `${cut(textOf(value), 80)} (${inDigits(count)})`));
    }
  }

  function offerChoices() {
    const every = Array.from({ length: entities.count }, (_, row) => row);
    const deleted = every.filter((row) => !entities.isProtected(row));
    const runs = deleted.filter((row) => entities.kindOf(row) === "run");
    const reasons = new Map(entities.groups.map((group) => [group.key, group.words]));
    const places = new Map(
      entities.places.map((place) => [entities.placeKey(place), entities.placeName(place)]),
    );
    offer("kind", every.map(entities.kindOf), (kind) => KINDS[kind]);
    offer("reason", every.flatMap(entities.groupsOf), (key) => reasons.get(key));
    offer("in", every.map((row) => entities.placeKey(entities.placeOf(row))), (key) => places.get(key));
    offer(
      "owner",
      runs.map((row) => entities.ownerOf(row) || NOBODY),
      (owner) => (owner === NOBODY ? "not recorded" : owner),
    );
    const ages = deleted.map(entities.ageGroupOf).sort((a, b) => a - b);
    offer("age", ages, (group) => entities.spans[group]);
    $("sort").append(element("option", { value: "" }, "What cannot be undone first"));
    for (const [name, words] of Object.entries(SORTS)) {
      $("sort").append(element("option", { value: name }, `${words}, ascending`));
      $("sort").append(element("option", { value: `-${name}` }, `${words}, descending`));
    }
  }

  function listenToFilters() {
    let typing;
    $("q").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => change({ q: $("q").value }), TYPING_MS);
    });
    for (const name of [...FILTERS.slice(1), "sort"]) {
      $(name).addEventListener("change", () => change({ [name]: $(name).value }));
    }
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("clear").addEventListener("click", () => {
      change(Object.fromEntries(FILTERS.map((name) => [name, ""])));
      for (const name of FILTERS) $(name).value = "";
      $("q").focus();
    });
    $("csv").addEventListener("click", downloadCsv);
    addEventListener("hashchange", onAddress);
  }

  function listenToTable() {
    const turn = (to) => {
      change({ page: String(to) });
      table().scrollIntoView();
    };
    $("previous").addEventListener("click", () => turn(page() - 1));
    $("next").addEventListener("click", () => turn(page() + 1));
    $("page").addEventListener("change", () => turn($("page").value));
    table().addEventListener("click", (event) => {
      const open = event.target.closest("button.open");
      if (open) openRow(Number(open.dataset.row));
      const sort = event.target.closest("button[data-sort]");
      if (!sort) return;
      const name = sort.dataset.sort;
      // A third click restores the order of the plan.
      const next = { [name]: `-${name}`, [`-${name}`]: "" }[state.sort];
      change({ sort: next ?? name });
    });
  }

  function listenToDetails() {
    $("details-previous").addEventListener("click", () => step(-1));
    $("details-next").addEventListener("click", () => step(1));
    $("details-close").addEventListener("click", () => $("details").close());
    $("details").addEventListener("click", (event) => {
      // A click on the dialog itself is outside its content.
      if (event.target === $("details")) $("details").close();
    });
    $("details").addEventListener("close", () => {
      delete state.open;
      writeAddress();
    });
  }

  function listenToPrinter() {
    addEventListener("beforeprint", () => {
      const every = inDigits(matches.length);
      $("printed").textContent =
        matches.length > ROWS_ON_PAPER
          ? `The first ${inDigits(ROWS_ON_PAPER)} of the ${every} entities that match are printed. Filter the table to print others.`
          : `All ${every} entities that match are printed.`;
      drawRows(0, ROWS_ON_PAPER);
    });
    addEventListener("afterprint", drawPage);
  }

  function start() {
    entities = readEntities(JSON.parse($("data").textContent));
    SORTS.last = entities.since;
    document.querySelector("button[data-sort=last]").textContent = entities.since;
    offerChoices();
    readAddress();
    update();
    listenToFilters();
    listenToTable();
    listenToDetails();
    listenToPrinter();
    $("table").hidden = false;
    openNamed();
    // So that the first keystroke in the search is not slow.
    (window.requestIdleCallback || setTimeout)(entities.prepareSearch);
  }

  document.addEventListener("DOMContentLoaded", () => {
    try {
      start();
    } catch (error) {
      // Keep the plain tables as a fallback.
      document.documentElement.classList.remove("scripts");
      throw error;
    }
  });
})();
