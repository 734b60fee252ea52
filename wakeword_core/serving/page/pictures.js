// Scores, waveform and mel spectrogram of the seconds `from` to `to`, each on its canvas.

const MEL_COLUMNS = 1200; // at most
const MEL_RANGE = [-13.8, 4]; // logarithms of power from black to the brightest
const COLOURS = [[10, 7, 40], [92, 18, 110], [187, 55, 84], [249, 142, 9], [252, 255, 164]];
const PART = 4; // pixels that are kept free above and below
const SAMPLES = 64; // that are looked at for a pixel of the waveform, about

function begin(canvas) { // -> what is drawn with, its width and height in CSS pixels
  const { clientWidth: width, clientHeight: height } = canvas, pixels = window.devicePixelRatio;
  [canvas.width, canvas.height] = [Math.round(width * pixels), Math.round(height * pixels)];
  const brush = canvas.getContext("2d");
  brush.scale(pixels, pixels);
  return [brush, width, height];
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

function line(brush, style, points, { dash = [], width = 1 } = {}) {
  brush.beginPath();
  brush.setLineDash(dash);
  [brush.strokeStyle, brush.lineWidth] = [style, width];
  points.forEach(([x, y]) => brush.lineTo(x, y));
  brush.stroke();
}

export function drawScores(canvas, { points, events, decision, words, from, to }) {
  const [brush, width, height] = begin(canvas);
  const x = (time) => ((time - from) / (to - from)) * width, y = (score) => PART + (1 - score) * (height - 2 * PART);
  brush.font = "12px system-ui, sans-serif";
  brush.fillStyle = colour("soft");
  for (const score of [0, 0.5, 1]) {
    line(brush, colour("line"), [[0, y(score)], [width, y(score)]]);
    brush.fillText(score.toFixed(1), 6, y(score) + (score ? 13 : -5));
  }
  const shown = points.filter(({ time }) => time >= from - 1 && time <= to + 1);
  for (const { time } of events.filter((one) => one.time >= from))
    line(brush, colour("alarm"), [[x(time), 0], [x(time), height]], { width: 2 });
  for (let word = 1; word <= words; word++) {
    const trace = shown.map((one) => [x(one.time), y(decision.lowered(one.scores[word], word))]);
    line(brush, colour(`word-${((word - 1) % 4) + 1}`), trace, { width: 2 });
  }
  line(brush, colour("ink"), [[0, y(decision.threshold)], [width, y(decision.threshold)]], { dash: [6, 4], width: 1.5 });
}

export function drawWaveform(canvas, { sound, soundStart, rate, from, to }) {
  const [brush, width, height] = begin(canvas);
  const perPixel = ((to - from) * rate) / width, every = Math.ceil(perPixel / SAMPLES);
  const y = (value) => (1 - value / 32768) * (height / 2);
  line(brush, colour("line"), [[0, height / 2], [width, height / 2]]);
  brush.fillStyle = colour("wave");
  for (let pixel = 0; pixel < width; pixel++) {
    const first = Math.floor(from * rate + pixel * perPixel) - soundStart;
    let [low, high] = [0, 0];
    for (let i = Math.max(0, first); i < Math.min(sound.length, first + perPixel); i += every)
      [low, high] = [Math.min(low, sound[i]), Math.max(high, sound[i])];
    brush.fillRect(pixel, y(high), 1, Math.max(0.5, y(low) - y(high)));
  }
}

export class MelPicture {
  constructor({ n_fft, win_length, hop_length, n_mels, f_min, f_max, log_floor }, rate) {
    Object.assign(this, { hop: hop_length, length: n_fft, bands: n_mels, floor: log_floor, rate, columns: new Map() });
    this.size = 2 ** Math.ceil(Math.log2(n_fft));
    const left = Math.floor((n_fft - win_length) / 2);
    this.window = Float64Array.from({ length: n_fft }, (_, i) =>
      i < left || i >= left + win_length ? 0 : 0.5 - 0.5 * Math.cos((2 * Math.PI * (i - left)) / win_length));
    const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
    const bottom = mel(f_min), step = (mel(f_max) - bottom) / (n_mels + 1);
    const edges = Array.from({ length: n_mels + 2 }, (_, i) => 700 * (10 ** ((bottom + i * step) / 2595) - 1));
    this.filters = Array.from({ length: n_mels }, (_, band) => {
      const [low, middle, high] = edges.slice(band, band + 3), weights = [];
      for (let bin = Math.ceil((low * this.size) / rate); (bin * rate) / this.size < high; bin++) {
        const hertz = (bin * rate) / this.size;
        weights.push([bin, Math.min((hertz - low) / (middle - low), (high - hertz) / (high - middle))]);
      }
      return weights;
    });
  }

  draw(canvas, { sound, soundStart, from, to }) {
    const [brush, width, height] = begin(canvas);
    const first = Math.floor((from * this.rate) / this.hop), frames = Math.ceil(((to - from) * this.rate) / this.hop);
    const every = Math.ceil(frames / MEL_COLUMNS), count = Math.ceil(frames / every);
    for (const frame of this.columns.keys()) if (frame < first) this.columns.delete(frame);
    const image = new ImageData(count, this.bands);
    for (let i = 0; i < count; i++) this.paint(image, i, this.column(first + i * every, sound, soundStart));
    const small = new OffscreenCanvas(count, this.bands);
    small.getContext("2d").putImageData(image, 0, 0);
    brush.drawImage(small, 0, 0, width, height);
  }

  paint(image, column, logs) {
    for (let band = 0; band < this.bands; band++) {
      const share = logs ? (logs[band] - MEL_RANGE[0]) / (MEL_RANGE[1] - MEL_RANGE[0]) : 0;
      const place = Math.max(0, Math.min(0.9999, share)) * (COLOURS.length - 1), below = Math.floor(place);
      const mixed = COLOURS[below].map((one, i) => one + (place - below) * (COLOURS[below + 1][i] - one));
      image.data.set([...mixed, 255], 4 * ((this.bands - 1 - band) * image.width + column));
    }
  }

  column(frame, sound, soundStart) { // logarithms of the bands' power, or nothing where no sound is (yet)
    const start = frame * this.hop - soundStart;
    if (!this.columns.has(frame) && start >= 0 && start + this.length <= sound.length) {
      const [real, imaginary] = [new Float64Array(this.size), new Float64Array(this.size)];
      this.window.forEach((weight, i) => (real[i] = (weight * sound[start + i]) / 32768));
      transform(real, imaginary);
      const power = (bin) => real[bin] ** 2 + imaginary[bin] ** 2;
      const sums = this.filters.map((weights) => weights.reduce((sum, [bin, weight]) => sum + weight * power(bin), 0));
      this.columns.set(frame, sums.map((sum) => Math.log(sum + this.floor)));
    }
    return this.columns.get(frame);
  }
}

function transform(real, imaginary) { // Fourier, in place; the length is a power of two (Cooley and Tukey, 1965)
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [real[i], real[j], imaginary[i], imaginary[j]] = [real[j], real[i], imaginary[j], imaginary[i]];
  }
  for (let half = 1; half < size; half *= 2)
    for (let k = 0; k < half; k++) {
      const [cosine, sine] = [Math.cos((Math.PI * k) / half), -Math.sin((Math.PI * k) / half)];
      for (let i = k; i < size; i += 2 * half) {
        const j = i + half;
        const a = real[j] * cosine - imaginary[j] * sine, b = real[j] * sine + imaginary[j] * cosine;
        [real[j], imaginary[j]] = [real[i] - a, imaginary[i] - b];
        [real[i], imaginary[i]] = [real[i] + a, imaginary[i] + b];
      }
    }
}
