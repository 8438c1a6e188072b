// The delay of a word: from the moment its end was spoken until it stood on this page as it stayed.

/** When each moment of the sound was spoken, by the clock of this page. */
export class SpokenAt {
  #ends = [];
  #times = [];

  constructor(rate) {
    this.rate = rate;
    this.samples = 0;
  }

  /** So many samples came by now: their last one was spoken just now. */
  add(count, now) {
    this.samples += count;
    this.#ends.push(this.samples / this.rate);
    this.#times.push(now);
  }

  get seconds() { return this.samples / this.rate; }

  /** When the second `at` of the sound was spoken; null: that sound is not there yet. */
  time(at) {
    let low = 0, high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ends[middle] < at) low = middle + 1; else high = middle;
    }
    return low === this.#ends.length ? null : this.#times[low] - (this.#ends[low] - at) * 1000;
  }
}

/** Since when each word of an utterance stands where it is: what a newer text leaves as it was keeps its time. */
export class ShownSince {
  words = [];
  times = [];

  show(text, now) {
    const words = split(text), same = (a, b) => bare(a) === bare(b);
    const times = words.map(() => now), most = Math.min(words.length, this.words.length);
    let first = 0, last = 0;
    while (first < most && same(words[first], this.words[first])) { times[first] = this.times[first]; first++; }
    while (last < most - first && same(words.at(-1 - last), this.words.at(-1 - last))) {
      times[words.length - 1 - last] = this.times.at(-1 - last);
      last++;
    }
    [this.words, this.times] = [words, times];
  }

  /** Those of `count` words on: where speech is cut without a pause, they stand already and belong to what follows. */
  rest(count) {
    const rest = new ShownSince();
    [rest.words, rest.times] = [this.words.slice(count), this.times.slice(count)];
    return rest;
  }
}

export const split = text => text.split(/\s+/).filter(Boolean);

/** A word without the case and the signs that a later text may change. */
const bare = word => word.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "") || word;

/**
 * The seconds that each word of a final took; null where the server gave no time for it.
 * Its times are found by the model and are about a tenth of a second exact, so a delay may come out below 0: it is 0 then.
 */
export function delays(final, shown, spoken) {
  const timed = final.words && final.words.length === shown.words.length ? final.words : null;
  return shown.words.map((word, number) => {
    const said = timed && spoken.time(Math.min(timed[number].end, spoken.seconds));
    return said === null ? null : Math.max(0, (shown.times[number] - said) / 1000);
  });
}

/** The value below which such a share of the values lies; null for none. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] : null;
}
