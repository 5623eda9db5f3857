// Validate a JSON document against a JSON Schema (draft 2020-12) with ajv.
//
//   node validate.mjs SCHEMA.json DOC.json
//
// Exit status: 0 valid; 1 invalid, or a schema that ajv's strict mode refuses; 64 wrong usage.

import { readFileSync } from "node:fs";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const [schemaPath, documentPath, ...rest] = process.argv.slice(2);
if (documentPath === undefined || rest.length > 0) {
  console.error("usage: node validate.mjs SCHEMA.json DOC.json");
  process.exit(64);
}

try {
  const read = (path) => JSON.parse(readFileSync(path, "utf8"));
  const ajv = new Ajv2020({
    strict: true,
    // `required` in an `if`/`then` without its own `properties`: how conditions are written.
    strictRequired: false,
    // ["string", "null"]: how a field that can be null is written.
    allowUnionTypes: true,
    allErrors: true,
  });
  addFormats(ajv);
  const validate = ajv.compile(read(schemaPath));
  if (!validate(read(documentPath))) {
    for (const { instancePath, message, params } of validate.errors) {
      console.error(`${instancePath || "/"}: ${message} ${JSON.stringify(params)}`);
    }
    process.exitCode = 1;
  }
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exitCode = 1;
}
