// The server's own figures, every two seconds while somebody looks. What is not known any more is —, never an old value.

import {$, ask} from "./server.js";
import {fill} from "./lists.js";

const EVERY_MS = 2000;

let slots = null, timer = null, asking = false;

/** How many slots there are; null: not known. */
export const slotsInAll = () => slots;

/** Begin to show them. */
export function startFigures() {
  document.addEventListener("visibilitychange", soon);
  soon();
}

/** Ask at once: something happened. */
export function soon() {
  clearTimeout(timer);
  if (!document.hidden) poll();
}

async function poll() {
  if (asking) return;
  asking = true;
  try {
    show(await (await ask("snapshot")).json());
  } catch (error) {
    unknown(error.message);
  } finally {
    asking = false;
    if (!document.hidden) timer = setTimeout(poll, EVERY_MS);
  }
}

function show(said) {
  const {capacity, status} = said.health, lag = said.performance.latency.lag_p95_s;
  const live = said.performance.active_connections;
  slots = capacity.total_slots;
  $("about").textContent = said.engine.simulated ? "Simulated: it hears tones, not speech." : said.engine.model;
  Object.assign($("slots"), {max: Math.max(1, slots), high: .9 * slots, value: capacity.used_slots});
  $("used").textContent = `${capacity.used_slots} of ${slots} used, ${capacity.available_slots} free`;
  // The percentile is of the last minute: without a stream it would be of those that are over.
  fill($("now"), [["Status", status], ["Streams", String(live)], ["Lag p95, last minute", live && lag !== null ? `${lag.toFixed(2)} s` : "—"]]);
  $("gpus").replaceChildren(...said.gpu_status.gpus.map(gpu => {
    const item = document.createElement("li");
    item.textContent = `${gpu.name || "GPU " + gpu.gpu_id}: ${gpu.state}, ${gpu.active_connections} of ${gpu.max_connections ?? "—"}`;
    return item;
  }));
}

function unknown(reason) {
  slots = null;
  $("slots").value = 0;
  $("used").textContent = "—";
  fill($("now"), [["Status", reason], ["Streams", "—"], ["Lag p95, last minute", "—"]]);
  $("gpus").replaceChildren();
}
