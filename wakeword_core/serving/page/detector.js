// Detections in live audio, in a browser: those that wakeword_core/runtime's Detector makes of the same samples.
// `ort` is onnxruntime-web, `session` its session of model.streaming.onnx, `card` the JSON in that file's metadata.

const BLOCK_HOPS = 512; // the most that the model gets at once

export function quietAfter({ frontend, detector, streaming }) { // samples by which nothing of a file is in any average
  const { n_fft, hop_length, window_frames } = frontend, { smoothing, hold } = detector;
  return new Int16Array((window_frames - 1 + (smoothing + hold) * streaming.stride_frames) * hop_length + n_fft);
}

export class Scorer { // of one stream, which begins after quiet
  constructor(ort, session, card) {
    const { frontend, streaming } = card, { n_fft, hop_length, window_frames } = frontend;
    Object.assign(this, { ort, session, card, hop: hop_length, stride: streaming.stride_frames, frames: 0 });
    this.firstEnd = (window_frames - 1) % this.stride;
    this.tail = Math.max(n_fft - hop_length, 0); // samples before the first hop
    this.begun = !this.tail;
    this.pending = new Float32Array(0);
    this.states = Object.fromEntries(Object.entries(streaming.states).map(([name, one]) => [name, this.filled(one)]));
  }

  filled({ shape, start, type }) { // one number for each index of axis 1, or one for all
    const [length, inner] = [shape, shape.slice(2)].map((sizes) => sizes.reduce((a, b) => a * b, 1));
    const numbers = Array.from({ length }, (_, i) => start[start.length === 1 ? 0 : Math.floor(i / inner) % shape[1]]);
    const values = type === "int64" ? BigInt64Array.from(numbers, BigInt) : Float32Array.from(numbers);
    return new this.ort.Tensor(type, values, shape);
  }

  async push(pcm) { // Int16Array of any length, each when the last is done -> [{ time, scores: one a label }]
    let audio = new Float32Array(this.pending.length + pcm.length);
    audio.set(this.pending);
    audio.set(Float32Array.from(pcm, (value) => value / 32768), this.pending.length);
    if (!this.begun && audio.length >= this.tail) {
      this.states.audio_tail = new this.ort.Tensor("float32", audio.slice(0, this.tail), [this.tail]);
      [audio, this.begun] = [audio.slice(this.tail), true];
    }
    const stop = this.frames + (this.begun ? Math.floor(audio.length / this.hop) : 0);
    const hops = stop - ((stop - 1 - this.firstEnd + this.stride) % this.stride) - this.frames;
    const found = [];
    for (let done = 0; done < hops; done += BLOCK_HOPS)
      found.push(...(await this.run(audio.slice(done * this.hop, Math.min(done + BLOCK_HOPS, hops) * this.hop))));
    this.pending = audio.slice(Math.max(0, hops) * this.hop);
    return found;
  }

  async run(audio) { // whole hops
    const given = new this.ort.Tensor("float32", audio, [audio.length]);
    const { scores, ...next } = await this.session.run({ audio: given, ...this.states });
    for (const name of Object.keys(this.states)) this.states[name] = next[`next_${name}`];
    const { sample_rate, labels, frontend } = this.card, first = this.frames;
    this.frames += scores.dims[0];
    return Array.from({ length: scores.dims[0] }, (_, row) => ({
      time: ((first + row) * this.hop + frontend.n_fft) / sample_rate,
      scores: [...scores.data.slice(row * labels.length, (row + 1) * labels.length)],
    })).filter((_, row) => (first + row) % this.stride === this.firstEnd);
  }
}

export class Decision { // the rule of wakeword_core/runtime/detector.py, score by score
  constructor(threshold, { detector, labels, handicaps = {} }) {
    const words = labels.map(() => ({ recent: [], agreed: [], armed: true, event: -Infinity })); // label 0 is unused
    const divisors = labels.map((label) => (Object.hasOwn(handicaps, label) ? handicaps[label] : 1));
    Object.assign(this, { ...detector, threshold, labels, words, divisors });
  }

  lowered(score, label) { // what is compared with the threshold, of a word's score
    const divisor = this.divisors[label], within = Math.min(Math.max(score, 0), 1);
    return divisor === 1 ? score : within / (within + (1 - within) * divisor);
  }

  push({ time, scores }) { // -> the event that it causes, { time, score, label }, or null
    const highest = Math.max(...scores.slice(1)); // label 0 is the negatives
    if (!Number.isFinite(highest)) throw new RangeError(`the score at ${time} s is not finite`);
    const best = scores.indexOf(highest, 1), score = this.lowered(highest, best);
    const held = this.words.map((word, label) => this.hear(word, time, label === best ? score : 0))[best];
    const word = this.words[best];
    if (held < this.threshold || !word.armed || time - word.event < this.lockout_seconds) return null;
    [word.armed, word.event] = [false, time];
    return { time, score: held, label: this.labels[best] };
  }

  hear(word, time, score) { // of one word -> its held score
    word.recent = [...word.recent, score].slice(-this.smoothing);
    const mean = word.recent.reduce((sum, one) => sum + one, 0) / word.recent.length;
    const smoothed = this.votes ? ([...word.recent].sort((a, b) => b - a)[this.votes - 1] ?? 0) : mean;
    word.agreed = [...word.agreed, smoothed].slice(-this.hold);
    word.below = smoothed < this.threshold ? (word.below ?? time) : undefined; // since when
    if (time - word.below >= this.rearm_seconds || smoothed < this.off_ratio * this.threshold) word.armed = true;
    return word.agreed.length === this.hold ? Math.min(...word.agreed) : 0;
  }
}

export class Detector {
  constructor(ort, session, card, threshold = card.threshold) {
    [this.scorer, this.decision] = [new Scorer(ort, session, card), new Decision(threshold, card)];
  }

  async process(pcm) { // Int16Array at card.sample_rate, of any length -> the detections that it completes
    return (await this.scorer.push(pcm)).map((one) => this.decision.push(one)).filter(Boolean);
  }
}
