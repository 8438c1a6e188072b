// Runs beside the page: takes what the microphone gives and hands it on as 16-bit samples, ten times a second.

registerProcessor("pcm", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.held = new Int16Array(Math.round(sampleRate / 10));
    this.count = 0;
  }

  process([channels]) {
    const input = channels[0];
    if (!input) return true;  // nothing is connected yet
    for (const value of input) {
      this.held[this.count++] = Math.max(-1, Math.min(1, value)) * 32767;
      if (this.count === this.held.length) {
        this.port.postMessage(this.held.slice());
        this.count = 0;
      }
    }
    return true;
  }
});
