// Rows and details as elements.  Text of a server only becomes a text node or a value.
"use strict";

const FATE_CLASSES = ["irreversible", "deleted", "protected"];
const LONGEST_NAME = 300; // in the table; the details show all of it, and ids are never truncated

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

function cut(words, most = LONGEST_NAME) {
  return words.length > most ? `${words.slice(0, most - 1)}…` : words;
}

function inDigits(count) {
  return count.toLocaleString("en");
}

function linkInto(address, words, label) {
  if (!address) return null;
  const link = element("a", { class: "outside", rel: "noopener noreferrer", target: "_blank" }, words);
  link.href = address;
  if (label) link.setAttribute("aria-label", label);
  return link;
}

function badge(entities, row) {
  const fate = entities.fateOf(row);
  return element("span", { class: `badge ${FATE_CLASSES[fate]}` }, FATES[fate]);
}

function drawRow(entities, row) {
  const cell = (name, label, ...children) =>
    element("td", { role: "cell", class: `c-${name}`, "data-label": label }, ...children);
  const small = (...children) => element("span", { class: "own" }, ...children);

  const kind = KINDS[entities.kindOf(row)];
  const title = entities.titleOf(row, LONGEST_NAME);
  const own = entities.kindOf(row) === "model_version" ? "" : entities.idOf(row);
  const open = element("button", { type: "button", class: "open", "data-row": row }, title);
  open.setAttribute("aria-haspopup", "dialog");
  const label = `Open ${kind.toLowerCase()} ${own || title} in MLflow`;
  const link = linkInto(entities.addressOf(row), "MLflow ↗", label);
  const id = own && element("code", {}, own);

  const place = entities.kindOf(row) === "run" ? entities.placeOf(row) : null;
  const where = place ? [cut(entities.placeName(place)), small("id ", element("code", {}, place.id))] : [];
  const last = entities.lastOf(row);
  const when = last === null ? [] : [timeInWords(last).slice(0, 10), small(daysOf(entities.ageOf(row)))];
  const chain = entities.viaOf(row).map((step) => element("span", { class: "step" }, `← ${cut(step)} `));
  return element(
    "tr",
    { role: "row" },
    cell("fate", "", badge(entities, row)),
    element("th", { role: "rowheader", scope: "row", class: "c-name" }, open, small(`${kind} `, id, " ", link)),
    cell("place", "Experiment", ...where),
    cell("owner", "Owner", cut(entities.ownerOf(row))),
    cell("last", entities.since, ...when),
    cell("why", "Why", element("span", {}, cut(entities.wordsOf(row).join("; "))), ...chain),
  );
}

function daysOf(age) {
  if (age === null) return "";
  const count = Math.floor(age);
  return `${inDigits(count)} ${count === 1 ? "day" : "days"}`;
}

// All data of the plan about an entity, as a list of elements.
function drawDetails(entities, row) {
  const kind = KINDS[entities.kindOf(row)];
  const { fields, expected } = entities.fieldsOf(row);
  const identity = element("p", { class: "identity" });
  if (entities.idOf(row) && entities.kindOf(row) !== "model_version") {
    const copy = { type: "button", class: "copy", "data-copy": "details-id" };
    identity.append(element("code", { id: "details-id" }, entities.idOf(row)));
    identity.append(element("button", copy, "Copy id"));
  }
  const links = element("p", { class: "links" });
  const own = linkInto(entities.addressOf(row), `Open ${kind.toLowerCase()} in MLflow ↗`);
  if (own) links.append(own);
  if (["run", "model_version"].includes(entities.kindOf(row))) {
    const what = entities.placeOf(row).model ? "model" : "experiment";
    links.append(linkInto(entities.addressOfPlace(row), `Open its ${what} ↗`) || "");
  }
  const items = (list) => list.map((words) => element("li", {}, words));
  const body = [
    element("p", { class: "eyebrow" }, `${kind} `, badge(entities, row)),
    element("h2", { id: "details-title", tabindex: "-1" }, entities.titleOf(row)),
    identity,
    links,
    element("h3", {}, entities.isProtected(row) ? "Why it is protected" : "Why it is deleted"),
    element("ul", {}, ...items(entities.wordsOf(row))),
  ];
  if (entities.viaOf(row).length) {
    body.push(element("h3", {}, "The chain that leads to what protects it"));
    body.push(element("ol", {}, ...items(entities.viaOf(row))));
  }
  if (entities.isProtected(row)) fields.set("reason", entities.groupsOf(row)[0]);
  body.push(element("h3", {}, "What the plan says"), drawFields(fields));
  if (expected.size) {
    body.push(element("h3", {}, "What must still hold when prune re-checks it"), drawFields(expected));
  }
  return body;
}

function drawFields(fields) {
  const list = element("dl", { class: "fields" });
  for (const [name, value] of fields) {
    list.append(element("div", {}, element("dt", {}, name), element("dd", {}, drawValue(name, value))));
  }
  return list;
}

function drawValue(name, value) {
  const note = (words) => element("span", { class: "note" }, words);
  if (value === null || value === undefined) return note("none");
  if (value === "") return note("empty");
  if (typeof value === "number" && /_time(stamp)?$/.test(name)) return timeInWords(value);
  if (typeof value !== "object") return String(value);
  if (!Object.keys(value).length) return note("none");
  return Array.isArray(value) ? textOf(value) : drawFields(Object.entries(value));
}
