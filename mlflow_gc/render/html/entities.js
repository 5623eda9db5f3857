// The entities of the plan, and filtering and sorting them: no drawing, no events.
"use strict";

const KINDS = {
  experiment: "Experiment",
  run: "Run",
  model_version: "Model version",
  registered_model: "Registered model",
  logged_model: "Logged model",
  file: "Files",
  link: "Link",
};
const FATES = ["Deleted permanently", "Deleted", "Protected"];
const FATE_FILTERS = {
  deleted: (fate) => fate < 2,
  irreversible: (fate) => fate === 0,
  restorable: (fate) => fate === 1,
  protected: (fate) => fate === 2,
};
const NOBODY = "-"; // the owner of runs without one, in a link

// Return functions over the columns of the data, each for one row.
function readEntities(data) {
  const DAY = 86400000;

  // ------------------------------------------------------------------ fields of a row

  const kindOf = (row) => data.kinds[data.kind[row]];
  const nameOf = (row) => data.strings[data.name[row]];
  const ownerOf = (row) => data.strings[data.owner[row]];
  const placeOf = (row) => data.places[data.place[row]];
  const whyOf = (row) => data.reasons[data.why[row]];
  const viaOf = (row) => data.via[row].map((step) => data.strings[step]);
  const isProtected = (row) => data.fate[row] === 2;

  function placeKey(place) {
    return `${place.model ? "model" : "experiment"}:${place.id}`;
  }

  function placeName(place) {
    return place.model ? place.id : place.name || `experiment ${place.id}`;
  }

  function keyOf(row) {
    const kind = kindOf(row);
    if (kind === "registered_model") return `${kind}:${nameOf(row)}`;
    return kind === "model_version" ? `${kind}:${nameOf(row)}/${data.id[row]}` : `${kind}:${data.id[row]}`;
  }

  // The row of a key, or -1.
  function find(key) {
    return data.kind.findIndex((_, row) => keyOf(row) === key);
  }

  // A long name is truncated, the version after it is not.
  function titleOf(row, most = Infinity) {
    const name = nameOf(row).length > most ? `${nameOf(row).slice(0, most - 1)}…` : nameOf(row);
    return kindOf(row) === "model_version" ? `${name} / ${data.id[row]}` : name || "(no name)";
  }

  function ageOf(row) {
    const last = data.last[row];
    return last === null || data.asOf === null ? null : (data.asOf - last) / DAY;
  }

  function ageGroupOf(row) {
    const days = ageOf(row);
    if (days === null) return data.bounds.length + 1;
    let group = 0;
    while (group < data.bounds.length && days >= data.bounds[group]) group += 1;
    return group;
  }

  // All fields of the plan's entry, by name: those in columns, then the rest.
  function fieldsOf(row) {
    const kind = kindOf(row);
    const place = placeOf(row);
    const fields = new Map();
    if (kind === "run") {
      fields.set("run_id", data.id[row]).set("run_name", nameOf(row));
      fields.set("experiment_id", place.id).set("experiment_name", place.name);
      if (!isProtected(row)) fields.set("user_id", ownerOf(row)).set("status", data.strings[data.status[row]]);
    } else if (kind === "experiment") {
      fields.set("experiment_id", data.id[row]).set("name", nameOf(row));
    } else {
      fields.set("name", nameOf(row));
      if (kind === "model_version") fields.set("version", data.id[row]);
    }
    const expected = new Map();
    const [shape, ...values] = data.more[row];
    let next = 0;
    for (const [how, name] of data.shapes[shape]) {
      if (how === 0) fields.set(name, values[next++]);
      else expected.set(name, how === 1 ? values[next++] : fields.get(name));
    }
    return { fields, expected };
  }

  // ------------------------------------------------------------------ links into MLflow

  function address(base, route) {
    // Checked when the page was made; checked again before a click follows it.
    return /^https?:\/\//.test(base) ? `${base}${route}${data.links.suffix}` : "";
  }

  const code = (place) => place.code || encodeURIComponent(place.id);

  function addressOf(row) {
    const place = code(placeOf(row));
    const own = encodeURIComponent(data.id[row]);
    if (data.links.without?.includes(kindOf(row))) return "";
    switch (kindOf(row)) {
      case "run":
        return address(data.links.tracking, `experiments/${place}/runs/${own}`);
      case "experiment":
        return address(data.links.tracking, `experiments/${place}`);
      case "logged_model":
        return address(data.links.tracking, `experiments/${place}/models/${own}`);
      case "file":
      case "link":
        return "";
      default:
        if (isProtected(row) && data.groups[whyOf(row).groups[0]].key === "prompt") {
          return address(data.links.registry, `prompts/${place}`);
        }
        if (kindOf(row) === "model_version") {
          return address(data.links.registry, `models/${place}/versions/${own}`);
        }
        return address(data.links.registry, `models/${place}`);
    }
  }

  function addressOfPlace(row) {
    const place = placeOf(row);
    if (place.model) return address(data.links.registry, `models/${code(place)}`);
    return address(data.links.tracking, `experiments/${code(place)}`);
  }

  // ------------------------------------------------------------------ searching and sorting

  let haystacks = null;

  function haystackOf(row) {
    const place = placeOf(row);
    const own = kindOf(row) === "model_version" ? `${nameOf(row)}/${data.id[row]}` : data.id[row];
    const parts = [KINDS[kindOf(row)], FATES[data.fate[row]], nameOf(row), own, placeName(place)];
    parts.push(place.id, ownerOf(row), data.strings[data.status[row]], textOf(data.more[row].slice(1)));
    for (const group of whyOf(row).groups) parts.push(data.groups[group].key);
    return [...parts, ...whyOf(row).words, ...viaOf(row)].join("\n").toLowerCase();
  }

  function allHaystacks() {
    if (!haystacks) haystacks = data.kind.map((_, row) => haystackOf(row));
    return haystacks;
  }

  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // Numbers that sort like the texts make comparing 50,000 rows fast.
  function ranks(words) {
    const order = words.map((_, n) => n).sort((a, b) => collator.compare(words[a], words[b]));
    const found = new Float64Array(words.length);
    order.forEach((n, rank) => {
      found[n] = words[n] === "" ? NaN : rank;
    });
    return found;
  }

  function sortKeys(name) {
    if (name === "fate" || name === "kind") return Float64Array.from(data[name]);
    if (name === "last") return Float64Array.from(data.last, (last) => (last === null ? NaN : last));
    if (name === "place") {
      const found = ranks(data.places.map((place) => (place.model ? "" : placeName(place))));
      return Float64Array.from(data.place, (place) => found[place]);
    }
    if (name === "why") {
      const found = ranks(data.reasons.map((why) => why.words.join("; ")));
      return Float64Array.from(data.why, (why) => found[why]);
    }
    const found = ranks(data.strings);
    return Float64Array.from(data[name], (string) => found[string]);
  }

  const orders = new Map();

  // All rows in an order, such as "last" or "-last"; rows without value always come last.
  function order(sort) {
    if (!orders.has(sort)) {
      const found = Uint32Array.from(data.kind, (_, row) => row);
      const name = sort.replace("-", "");
      if (name) {
        const keys = sortKeys(name);
        const sign = sort.startsWith("-") ? -1 : 1;
        found.sort((a, b) => {
          const [x, y] = [keys[a], keys[b]];
          if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
          return (x - y) * sign || a - b;
        });
      }
      orders.set(sort, found);
    }
    return orders.get(sort);
  }

  function conditions(state) {
    const found = [];
    if (state.fate) found.push((row) => FATE_FILTERS[state.fate](data.fate[row]));
    if (state.kind) {
      const kind = data.kinds.indexOf(state.kind);
      found.push((row) => data.kind[row] === kind);
    }
    if (state.in) {
      const place = new Set(data.places.flatMap((p, n) => (placeKey(p) === state.in ? [n] : [])));
      found.push((row) => place.has(data.place[row]));
    }
    if (state.owner) {
      const owner = state.owner === NOBODY ? "" : state.owner;
      // A plan contains owners only of runs to delete.
      found.push((row) => ownerOf(row) === owner && kindOf(row) === "run" && !isProtected(row));
    }
    if (state.reason) {
      const groups = new Set(data.groups.flatMap((g, n) => (g.key === state.reason ? [n] : [])));
      const reasons = new Set();
      data.reasons.forEach((why, n) => {
        if (why.groups.some((group) => groups.has(group))) reasons.add(n);
      });
      found.push((row) => reasons.has(data.why[row]));
    }
    if (state.age) {
      const group = Number(state.age);
      found.push((row) => !isProtected(row) && ageGroupOf(row) === group);
    }
    for (const word of (state.q || "").toLowerCase().split(/\s+/).filter(Boolean)) {
      const texts = allHaystacks();
      found.push((row) => texts[row].includes(word));
    }
    return found;
  }

  // The rows for a state of the table, in its order.
  function select(state) {
    const wanted = conditions(state);
    const found = [];
    for (const row of order(state.sort || "")) {
      if (wanted.every((fits) => fits(row))) found.push(row);
    }
    return found;
  }

  return {
    count: data.kind.length,
    since: data.since,
    idOf: (row) => data.id[row],
    lastOf: (row) => data.last[row],
    fateOf: (row) => data.fate[row],
    groupsOf: (row) => whyOf(row).groups.map((group) => data.groups[group].key),
    wordsOf: (row) => whyOf(row).words,
    groups: data.groups,
    places: data.places,
    spans: data.spans,
    prepareSearch: allHaystacks,
    kindOf,
    nameOf,
    ownerOf,
    placeOf,
    placeKey,
    placeName,
    viaOf,
    isProtected,
    keyOf,
    find,
    titleOf,
    ageOf,
    ageGroupOf,
    fieldsOf,
    addressOf,
    addressOfPlace,
    select,
  };
}

function timeInWords(milliseconds) {
  const moment = new Date(milliseconds);
  return Number.isNaN(moment.getTime()) ? `${milliseconds} ms` : moment.toISOString();
}

function textOf(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(textOf).join(" ");
  if (typeof value === "object") return Object.entries(value).flat().map(textOf).join(" ");
  return String(value);
}
