// One stream: a socket, the sound that goes into it, and the words that come out.

import {ShownSince, SpokenAt, delays, split} from "./delays.js";

const QUIET_END_MS = 30_000;
const FULL = new Set(["no_capacity", "too_many_connections", "lagging", "draining"]);

export class Stream {
  finals = [];
  partials = new Map();
  delays = [];
  lag = null;
  #shown = new Map();
  #over = false;

  /** `on`: changed(), state(text), ready(), ended(why, refusal): `refusal` is {code, message, retrySeconds}. */
  constructor(url, rate, on) {
    this.on = on;
    this.spoken = new SpokenAt(rate);
    this.socket = new WebSocket(url);
    this.socket.onmessage = event => this.#hear(JSON.parse(event.data));
    this.socket.onclose = event => this.#closed(event);
  }

  send(samples) {
    if (this.socket.readyState !== WebSocket.OPEN || this.ending) return;
    this.socket.send(samples);
    this.spoken.add(samples.length, performance.now());
  }

  /** No more sound comes; the last words may still. */
  end() {
    if (this.ending || this.#over) return;
    this.ending = true;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send('{"type":"end"}');
    else this.socket.close();
    this.timer = setTimeout(() => this.#finish("The server gave no last word; the stream is over."), QUIET_END_MS);
  }

  /** Be done with it at once, whatever may still come. */
  close() { this.#finish(null); }

  #hear(said) {
    switch (said.type) {
      case "ready": this.on.ready(); break;
      case "status": this.on.state(said.message); break;
      case "warning": this.on.state(said.message); break;
      case "draining": this.on.state(`The server is going down; this stream may go on for ${Math.round(said.deadline_s)} s.`); break;
      case "partial": this.#partial(said); break;
      case "final": this.#final(said); break;
      case "done": this.done = true; break;
      case "error": this.error = said; break;
    }
  }

  #partial(said) {
    const shown = this.#shownOf(said.segment);
    shown.show(said.text, performance.now());
    this.partials.set(said.segment, said);
    [this.lag, this.lagAt] = [said.lag_s, performance.now()];
    this.on.changed();
  }

  #final(said) {
    const shown = this.#shownOf(said.segment), rest = shown.rest(split(said.text).length);
    shown.show(said.text, performance.now());
    const took = delays(said, shown, this.spoken);
    this.finals.push(shown.words.map((word, number) => ({word, delay: took[number]})));
    this.delays.push(...took.filter(seconds => seconds !== null));
    this.partials.delete(said.segment);
    this.#shown.delete(said.segment);
    if (rest.words.length && !this.#shown.has(said.segment + 1)) this.#shown.set(said.segment + 1, rest);
    this.on.changed();
  }

  #shownOf(segment) {
    if (!this.#shown.has(segment)) this.#shown.set(segment, new ShownSince());
    return this.#shown.get(segment);
  }

  #closed(event) {
    if (this.done) return this.#finish(null);
    if (this.error && FULL.has(this.error.code)) {
      const {code, message, retry_after_s: retrySeconds} = this.error;
      return this.#finish(null, {code, message, retrySeconds});
    }
    if (this.error) return this.#finish(`The server ended the stream: ${this.error.message.replace(/\.$/, "")}.`);
    if (event.code === 1008) return this.#finish(`The server refused the stream: ${event.reason || "it may not be used here"}.`);
    this.#finish(this.spoken.samples ? "The connection was lost. Press the red button to begin again." : "No connection came about.");
  }

  #finish(why, refusal = null) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.timer);
    this.socket.onclose = this.socket.onmessage = null;
    this.socket.close(1000);
    this.partials.clear();
    this.lag = null;
    this.on.ended(why, refusal);
  }
}
