// The page at /: one stream at a time, from the microphone, the server's sample or a file; and the server's figures.

import {slotsInAll, soon, startFigures} from "./figures.js";
import {quantile} from "./delays.js";
import {fill} from "./lists.js";
import {$, Refusal, ask, askForToken, openFigures, place} from "./server.js";
import {Clip, Microphone, Plain, decibels, whyNoMicrophone} from "./sounds.js";
import {Stream} from "./stream.js";

const LATE_SECONDS = 2;
const LAG_SHOWN_MS = 3000;
const UNHEARD_DB = -55, UNHEARD_MS = 4000;
const LEAST_RETRY_SECONDS = 2;
const SAMPLE_MS = 60_000;  // a voice may have to read it first

/** What runs now: {source, stream, timer}; null: nothing does. */
let run = null;
let last = null;
/** What of it stands on the page. */
let shown = {of: null, finals: 0};

/** Said aloud by screen readers; a countdown is not. */
const say = (text, countdown = "") => {
  if ($("state").textContent !== text) $("state").textContent = text;
  $("countdown").textContent = countdown;
};
const sentence = text => text.replace(/[.\s]*$/, ".");
const seconds = value => value === null || value === undefined ? "—" : `${value.toFixed(1)} s`;

// --- beginning and ending ------------------------------------------------------------------------

async function begin(makeSource) {
  if (run) return;
  const mine = run = {};
  show();
  try {
    const source = await makeSource();
    await source.open();
    if (run !== mine) return source.stop();
    mine.source = source;
    await connect(mine);
  } catch (error) {
    over(mine, error instanceof Plain || error instanceof Refusal ? error.message : `It went wrong: ${error.message}`);
  }
}

/** Take a slot and begin; a server that is full is asked again until somebody stops it. */
async function connect(mine) {
  $("again").hidden = true;
  clearInterval(mine.timer);
  let url;
  try {
    url = await place(mine.source.rate);
  } catch (error) {
    if (run !== mine) return;
    if (error.retrySeconds === null || error.retrySeconds === undefined) throw error;
    return wait(mine, error);
  }
  if (run !== mine) return;
  mine.stream = last = new Stream(url, mine.source.rate, {
    changed: showWords,
    state: say,
    ready: () => start(mine),
    ended: (why, refusal) => refusal && run === mine && !mine.started ? wait(mine, refusal) : over(mine, why),
  });
  show();
}

function start(mine) {
  if (run !== mine || mine.stream.ending) return;
  mine.started = true;
  mine.loudAt = performance.now();
  say(mine.source instanceof Microphone ? "Listening. Press the red button to stop." : `Playing ${mine.source.name}.`);
  mine.source.start(samples => {
    mine.stream.send(samples);
    level(mine, samples);
  }, why => {
    if (why) say(why);
    stop();
  });
  soon();
  mine.ticking = setInterval(showStream, 250);
}

function stop() {
  if (!run) return;
  if (!run.started || run.stream.ending) return over(run, "Stopped.");
  run.source.stop();
  say("Waiting for the last words…");
  run.stream.end();
  level(null);
}

/** It is over: nothing of it that was live stays on the page. */
function over(mine, why) {
  if (run !== mine) return;
  run = null;
  clearInterval(mine.timer);
  clearInterval(mine.ticking);
  mine.source?.stop();
  mine.stream?.close();
  $("again").hidden = true;
  level(null);
  say(why || (last?.finals.length ? "Done." : "Done. No word was heard."));
  showWords();
  show();
  soon();
}

// --- a server that takes no more ------------------------------------------------------------------

const REASONS = {
  no_capacity: () => {
    const slots = slotsInAll();
    return `This server is full: ${slots === 1 ? "its one slot is" : slots ? `all ${slots} slots are` : "all slots are"} in use.`;
  },
  too_many_connections: () => "As many streams come from your address as may.",
  lagging: () => "The server is behind with the streams that it has, and takes no new one now.",
  draining: () => "The server is going down and takes no new stream.",
};

function wait(mine, refusal) {
  mine.stream = null;
  const reason = REASONS[refusal.code]?.() || `The server takes no stream now: ${sentence(refusal.message)}`;
  let left = Math.max(LEAST_RETRY_SECONDS, Math.ceil(refusal.retrySeconds ?? LEAST_RETRY_SECONDS));
  const again = () => connect(mine).catch(error => over(mine, error.message));
  const tick = () => {
    if (left === 0) return again();
    say(`${reason} Nothing is sent until there is room.`, `Trying again in ${left} s.`);
    left -= 1;
  };
  clearInterval(mine.timer);
  mine.timer = setInterval(tick, 1000);
  tick();
  $("again").hidden = false;
  $("again").onclick = again;
  show();
  soon();
}

// --- what is shown --------------------------------------------------------------------------------

function show() {
  const active = run !== null;
  $("record").setAttribute("aria-pressed", active);
  $("record").setAttribute("aria-label", active ? "Stop" : "Record");
  $("record").title = active ? "Stop" : "Record";
  $("sample").disabled = $("file").disabled = active;
  $("choose").classList.toggle("off", active);
  if (active && !run.started) showWords();
  showStream();
}

function showWords() {
  if (run && !run.stream) last = null;
  if (shown.of !== last) {
    shown = {of: last, finals: 0};
    $("finals").replaceChildren();
  }
  // Only what is new: somebody may speak for hours.
  const fresh = (last?.finals || []).slice(shown.finals);
  shown.finals += fresh.length;
  $("finals").append(...fresh.flat().flatMap(({word, delay}) => [timed(word, delay), " "]));
  $("partial").replaceChildren(...[...(last?.partials.values() || [])].flatMap(said => {
    const stable = document.createElement("span");
    stable.className = "stable";
    stable.textContent = said.text.slice(0, said.stable_chars);
    return [stable, said.text.slice(said.stable_chars), " "];
  }));
  $("text").scrollTop = $("text").scrollHeight;
  showStream();
}

function timed(word, delay) {
  const ruby = document.createElement("ruby"), above = document.createElement("rt");
  above.setAttribute("aria-hidden", true);
  above.textContent = delay === null ? "—" : delay.toFixed(1);
  if (delay > LATE_SECONDS) above.className = "late";
  ruby.append(word, above);
  return ruby;
}

function showStream() {
  const rows = [];
  if (last) {
    const fresh = run?.started && last.lag !== null && performance.now() - last.lagAt < LAG_SHOWN_MS;
    const half = quantile(last.delays, .5), most = quantile(last.delays, .95);
    rows.push(["Sound sent", seconds(last.spoken.seconds)], ["Lag now", fresh ? seconds(last.lag) : "—"]);
    rows.push(["Words", String(last.finals.flat().length)]);
    rows.push(["Delay of words", half === null ? "—" : `${seconds(half)} for half of them, ${seconds(most)} for 95 %`]);
  }
  fill($("stream"), rows);
}

function level(mine, samples) {
  const now = samples ? decibels(samples) : -60;
  $("level").value = now;
  if (!mine || !(mine.source instanceof Microphone)) return;
  if (now > UNHEARD_DB) {
    if (mine.unheard) say("Listening. Press the red button to stop.");
    [mine.loudAt, mine.unheard] = [performance.now(), false];
  } else if (!mine.unheard && performance.now() - mine.loudAt > UNHEARD_MS) {
    mine.unheard = true;
    say("Nothing is heard: is the microphone muted, or is it another one?");
  }
}

// --- sources --------------------------------------------------------------------------------------

$("record").onclick = () => run ? stop() : begin(async () => {
  say("Asking for the microphone: allow it where the browser asks.");
  return new Microphone();
});
$("sample").onclick = () => begin(async () => {
  say("Fetching the sample…");
  return new Clip("the sample", await (await ask("sample.wav", SAMPLE_MS)).arrayBuffer());
});
$("file").onchange = () => {
  const [file] = $("file").files;
  $("file").value = "";
  if (file) begin(() => Clip.ofFile(file));
};

function dropping(on) { document.body.classList.toggle("dropping", on); }
document.addEventListener("dragover", event => { event.preventDefault(); dropping(!run); });
document.addEventListener("dragleave", event => { if (!event.relatedTarget) dropping(false); });
document.addEventListener("drop", event => {
  event.preventDefault();
  dropping(false);
  const files = [...event.dataTransfer.files];
  if (run) return;
  if (files.length !== 1) return say(files.length ? "One file at a time, please." : "That is no file.");
  begin(() => Clip.ofFile(files[0]));
});

$("delays").onchange = () => $("text").classList.toggle("plain", !$("delays").checked);

async function offerSample() {
  const said = await ask("sample").then(answer => answer.json()).catch(() => null);
  $("sample").hidden = !said?.available;
  $("said").hidden = !said?.text;
  $("said").lastElementChild.textContent = said?.text || "";
  if (reason && !run) say(said?.available ? "Play the sample, or a file." : "Open a sound file.");
}

const reason = whyNoMicrophone();
if (reason) {
  $("record").disabled = true;
  $("microphone").hidden = false;
  $("microphone").textContent = reason;
}
addEventListener("pagehide", stop);
askForToken(() => { soon(); offerSample(); });
openFigures();
offerSample();
startFigures();
