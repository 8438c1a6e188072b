// The page at /docs: every call with its schema, from the server's own openapi.json.

import {$, ask, askForToken, request} from "./server.js";

const MOST_SHOWN = 20_000;

/** The page may lie below a proxy's path. */
const relative = path => path.replace(/^\//, "");

function made(tag, text, ...children) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function call(path, method, what) {
  const summary = made("summary", "", Object.assign(made("span", method.toUpperCase() + " "), {className: "method"}), made("code", path), " " + (what.summary || ""));
  const box = made("details", "", summary);
  if (what.description && what.description !== what.summary) box.append(made("p", what.description));
  for (const one of what.parameters || [])
    box.append(made("p", "", made("code", one.name), ` in ${one.in}: ${(one.schema || {}).type || "text"}${one.required ? ", required" : ""}`));
  if (what.requestBody) box.append(made("p", "Body:"), ...contents(what.requestBody.content));
  for (const [status, answer] of Object.entries(what.responses || {}))
    box.append(made("p", `${status}: ${answer.description}`), ...contents(answer.content));
  // What only reads may be tried; /connect would hold a slot.
  if (method === "get" && path !== "/connect" && !path.includes("{")) {
    const out = made("pre"), button = made("button", "Try it");
    button.onclick = async () => { out.textContent = await tried(path).catch(error => error.message); };
    box.append(button, out);
  }
  return box;
}

/** Each kind of a body: a link to its schema below, or the schema. */
function contents(content) {
  return Object.entries(content || {}).map(([kind, {schema}]) => {
    const name = schema?.$ref?.split("/").at(-1);
    if (!name) return made("div", "", made("p", "", made("code", kind)), made("pre", JSON.stringify(schema ?? {}, null, 2)));
    const link = Object.assign(made("a", name), {href: `#${name}`, onclick: () => { $(name).open = true; }});
    return made("p", "", made("code", kind), ": ", link);
  });
}

async function tried(path) {
  const answer = await request(relative(path)), kind = answer.headers.get("content-type") || "";
  if (!/json|text/.test(kind)) return `${answer.status}\n${(await answer.arrayBuffer()).byteLength} bytes of ${kind || "nothing"}`;
  const text = await answer.text();
  let shown = text;
  try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* it is plain text */ }
  return `${answer.status}\n${shown.slice(0, MOST_SHOWN)}`;
}

async function load() {
  let said;
  try {
    said = await (await ask("openapi.json")).json();
  } catch (error) {
    $("state").textContent = error.message;
    return;
  }
  $("state").textContent = "The WebSockets /ws, /asr, /v1/realtime and / are described in docs/api.md.";
  $("title").textContent = `${said.info.title} ${said.info.version}`;
  const calls = Object.entries(said.paths).flatMap(([path, ways]) => Object.entries(ways).map(([method, what]) => call(path, method, what)));
  $("calls").replaceChildren(...calls);
  $("schemas").replaceChildren(...Object.entries(said.components?.schemas || {}).map(([name, schema]) => {
    const box = made("details", "", made("summary", "", made("code", name)), made("pre", JSON.stringify(schema, null, 2)));
    box.id = name;
    return box;
  }));
}

askForToken(load);
load();
