// The sound of an input as int16 at `rate` Hz in chunks of `samples`, whatever the rate of the audio context.

const CROSSINGS = 16; // of zero by the low-pass filter, each side

class Microphone extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate, samples } }) {
    super();
    const scale = Math.min(1, rate / sampleRate); // the band that both rates can hold
    Object.assign(this, { rate, scale, width: Math.ceil(CROSSINGS / scale), kernels: new Map(), made: 0, filled: 0 });
    [this.heard, this.from] = [new Float32Array(this.width), -this.width]; // quiet, and its place in the input
    this.chunk = new Int16Array(samples);
  }

  process([[...channels]]) {
    if (!channels.length) return true; // nothing is connected yet
    const mono = channels[0].map((_, i) => channels.reduce((sum, one) => sum + one[i], 0) / channels.length);
    if (this.rate === sampleRate) mono.forEach((value) => this.add(value));
    else this.resample(mono);
    return true;
  }

  resample(block) { // a windowed sinc around where each sample of the output lies in the input
    const input = new Float32Array(this.heard.length + block.length);
    input.set(this.heard);
    input.set(block, this.heard.length);
    for (;;) {
      const phase = (this.made * sampleRate) % this.rate; // whole numbers, so that nothing drifts
      const start = (this.made * sampleRate - phase) / this.rate - this.width + 1 - this.from;
      if (start + 2 * this.width > input.length) {
        [this.heard, this.from] = [input.slice(start), this.from + start];
        return;
      }
      this.add(this.kernel(phase).reduce((sum, weight, i) => sum + weight * input[start + i], 0));
      this.made++;
    }
  }

  kernel(phase) { // of few, since both rates are whole numbers
    if (!this.kernels.has(phase)) {
      const weights = Float32Array.from({ length: 2 * this.width }, (_, i) => {
        const distance = i - this.width + 1 - phase / this.rate, angle = Math.PI * distance * this.scale;
        const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
        return this.scale * sinc * Math.cos((Math.PI * distance) / (2 * this.width)) ** 2; // under a Hann window
      });
      this.kernels.set(phase, weights);
    }
    return this.kernels.get(phase);
  }

  add(value) {
    this.chunk[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
    if (this.filled < this.chunk.length) return;
    this.port.postMessage(this.chunk.slice());
    this.filled = 0;
  }
}

registerProcessor("microphone", Microphone);
