// Where sound comes from: the microphone, or a clip (the server's sample, a file) that is played in real time.
// Each gives 16-bit samples of one channel to `heard` until it is stopped, and says `over()` when it ends by itself.

const RATE = 16000;
const MOST_RATE = 48000;  // what the server takes
const MOST_BYTES = 100 * 2 ** 20;
const STEP_MS = 50;

/** A sentence for the person at the page. */
export class Plain extends Error {}

/** Why there is no microphone to ask for, known before anybody asks; null: there may be one. */
export function whyNoMicrophone() {
  if (navigator.mediaDevices?.getUserMedia) return null;
  if (window.isSecureContext) return "This browser gives pages no microphone.";
  const port = location.port ? `:${location.port}` : "";
  return `Browsers give no microphone to a page that came over plain http from ${location.hostname}. Open it by https ` +
    `(whisper-ops serve --tls-cert), or on the server itself as http://localhost${port}. Files play here too.`;
}

const REFUSALS = {
  NotAllowedError: "The microphone is not allowed on this page. Allow it at the lock or camera sign of the address bar, then press the red button again.",
  NotFoundError: "No microphone was found. Plug one in, or play a sample or a file.",
  NotReadableError: "The microphone cannot be used: perhaps another program holds it.",
};

export class Microphone {
  name = "microphone";

  /** Ask for it; throws Plain where it is not given. */
  async open() {
    const reason = whyNoMicrophone();
    if (reason) throw new Plain(reason);
    // What was said is what should be heard: no filters that are made for telephone calls.
    const audio = {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true};
    try {
      this.media = await navigator.mediaDevices.getUserMedia({audio});
    } catch (error) {
      throw new Plain(REFUSALS[error.name] || `The microphone cannot be used: ${error.message}`);
    }
    try {
      await this.#connect();
    } catch (error) {
      this.stop();
      throw new Plain(`This browser cannot take in sound: ${error.message}`);
    }
  }

  async #connect() {
    const source = this.#source();
    await this.context.audioWorklet.addModule("page/pcm-worklet.js");
    this.node = new AudioWorkletNode(this.context, "pcm", {numberOfOutputs: 0});
    source.connect(this.node);
    await this.context.resume();
  }

  /** At 16 kHz, which is what models hear; where a browser cannot (Firefox), at the microphone's own rate. */
  #source() {
    const wanted = [{sampleRate: RATE}, {}, {sampleRate: MOST_RATE}];
    for (const [number, options] of wanted.entries()) {
      this.context = new AudioContext(options);
      try {
        if (this.context.sampleRate <= MOST_RATE) return this.context.createMediaStreamSource(this.media);
      } catch (error) {
        if (number === wanted.length - 1) throw error;
      }
      this.context.close();
    }
    throw new Error("the microphone's rate is over 48 kHz");
  }

  get rate() { return this.context.sampleRate; }

  start(heard, over) {
    this.node.port.onmessage = event => heard(event.data);
    for (const track of this.media.getTracks()) track.onended = () => over("The microphone is gone.");
  }

  stop() {
    if (this.node) this.node.port.onmessage = null;
    for (const track of this.media?.getTracks() || []) { track.onended = null; track.stop(); }
    if (this.context && this.context.state !== "closed") this.context.close();
  }
}

export class Clip {
  rate = RATE;

  constructor(name, bytes) {
    this.name = name;
    this.bytes = bytes;
  }

  static async ofFile(file) {
    if (file.size > MOST_BYTES) throw new Plain(`${file.name} has over 100 MiB; POST /v1/audio/transcriptions takes files in parts.`);
    const bytes = await file.arrayBuffer().catch(() => { throw new Plain(`${file.name} cannot be read.`); });
    return new Clip(file.name, bytes);
  }

  /** Decode it; throws Plain where it is no sound. */
  async open() {
    let decoded;
    try {
      decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(this.bytes.slice(0));
    } catch {
      throw new Plain(`${this.name} is no sound that this browser can read.`);
    }
    this.decoded = decoded;
    this.samples = mixed(decoded);
  }

  /** Play it, to the server and to the person. Pages that are hidden are woken less often, and then catch up. */
  start(heard, over) {
    this.#play();
    const began = performance.now();
    let sent = 0;
    this.timer = setInterval(() => {
      const due = Math.min(this.samples.length, Math.floor((performance.now() - began) / 1000 * RATE));
      if (due > sent) heard(this.samples.slice(sent, due));
      sent = due;
      if (sent === this.samples.length) { clearInterval(this.timer); over(null); }
    }, STEP_MS);
  }

  #play() {
    this.context = new AudioContext();
    this.player = this.context.createBufferSource();
    this.player.buffer = this.decoded;
    this.player.connect(this.context.destination);
    this.player.start();
  }

  stop() {
    clearInterval(this.timer);
    if (this.context && this.context.state !== "closed") this.context.close();
  }
}

/** One channel of 16-bit samples. */
function mixed(decoded) {
  const out = new Int16Array(decoded.length), channels = [];
  for (let number = 0; number < decoded.numberOfChannels; number++) channels.push(decoded.getChannelData(number));
  for (let at = 0; at < out.length; at++) {
    let sum = 0;
    for (const channel of channels) sum += channel[at];
    out[at] = Math.max(-1, Math.min(1, sum / channels.length)) * 32767;
  }
  return out;
}

/** How loud samples are, in decibels of full scale. */
export function decibels(samples) {
  let sum = 0;
  for (const value of samples) sum += value * value;
  return 10 * Math.log10(sum / Math.max(1, samples.length) / 32767 ** 2 + 1e-9);
}
