// What is asked of the server. The token is kept in memory only: an address is kept in histories and logs.

let token = new URLSearchParams(location.search).get("token");
if (token) history.replaceState(null, "", location.pathname);

const DEADLINE_MS = 10_000;

export const $ = id => document.getElementById(id);

/** The server said no: why, and after how many seconds it is worth asking again. */
export class Refusal extends Error {
  constructor(message, code = "", retrySeconds = null) {
    super(message);
    this.code = code;
    this.retrySeconds = retrySeconds;
  }
}

/** A field for the token is shown when one is asked for; `again` is called when it was filled in. */
export function askForToken(again) {
  $("login").onsubmit = event => {
    event.preventDefault();
    token = $("token").value.trim() || null;
    $("token").value = "";
    again();
  };
}

export async function request(path, deadline = DEADLINE_MS) {
  const headers = token ? {authorization: "Bearer " + token} : {};
  const answer = await fetch(path, {headers, cache: "no-store", signal: AbortSignal.timeout(deadline)})
    .catch(() => { throw new Refusal("The server does not answer."); });
  $("login").hidden = answer.status !== 401;
  return answer;
}

/** The answer of a call that went well; throws a Refusal for any other. */
export async function ask(path, deadline) {
  const answer = await request(path, deadline);
  if (answer.ok) return answer;
  if (answer.status === 401) throw new Refusal("This server needs a token.", "token");
  const said = await answer.json().catch(() => ({}));
  const retry = Number.parseFloat(answer.headers.get("retry-after"));
  throw new Refusal(said.error || `The server answers ${answer.status}.`, said.code, Number.isFinite(retry) ? retry : null);
}

/** Where a stream goes, with a slot held for it where the server can hold one. */
export async function place(sampleRate) {
  const there = await (await ask("connect")).json();
  // Without a ticket the server knows no way round its proxy: this page, perhaps below a path, came a way that works.
  const url = new URL(there.ticket ? there.ws_url : "ws", location.href);
  if (location.protocol === "https:") url.protocol = "wss:";  // nothing else is let out of such a page
  else if (url.protocol === "http:") url.protocol = "ws:";
  // A ticket stands for the token; without one only our own server is told it.
  if (!there.ticket && token) url.searchParams.set("token", token);
  for (const [name, value] of [["encoding", "pcm_s16le"], ["sample_rate", sampleRate], ["words", "true"]])
    url.searchParams.set(name, value);
  return url;
}

/** Links to figures bear the token too. */
export function openFigures() {
  for (const link of document.querySelectorAll("a[data-figures]")) link.onclick = async event => {
    if (!token) return;  // a plain link
    event.preventDefault();
    const text = await (await ask(link.getAttribute("href"))).text();
    window.open(URL.createObjectURL(new Blob([text], {type: "text/plain"})));
  };
}
