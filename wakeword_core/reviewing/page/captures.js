// What the server knows of captures: their list, their sound and scores, and what is said of them.

import { decode } from "./sound.js";

export const RATE = 16000; // at which they are shown and played
const REMEMBERED = 20; // captures whose sound and scores are kept here
const UNREACHABLE = "The server cannot be reached; see that it runs, then load the page again.";

export class Captures {
  constructor() {
    Object.assign(this, { token: "", etag: "", turn: 0, listed: null, heard: new Map() });
  }

  async ask(path, options = {}) { // a response, or an error that is a sentence
    const headers = { ...options.headers, ...(this.token && { Authorization: `Bearer ${this.token}` }) };
    const response = await fetch(path, { ...options, headers, cache: "no-store" }).catch(() => null);
    if (!response) throw new Error(UNREACHABLE);
    if (response.ok || response.status === 304) return response;
    const { detail, code } = await response.json().catch(() => ({}));
    const error = new Error(detail ?? `the server answered ${response.status} for ${path}.`);
    throw Object.assign(error, { status: response.status, code });
  }

  async refresh() { // whether something has changed; of several at once the last counts
    const turn = ++this.turn;
    const response = await this.ask("captures", { headers: this.etag ? { "If-None-Match": this.etag } : {} });
    if (response.status === 304) return false;
    const listed = await response.json();
    if (turn !== this.turn) return false;
    this.listed = listed;
    this.etag = response.headers.get("ETag");
    return true;
  }

  hear({ name }) { // -> { sound: int16 at RATE, trace: { times, scores, threshold } or null }, once for each
    if (!this.heard.has(name)) {
      const heard = Promise.all([this.sound(name), this.trace(name)]).then(([sound, trace]) => ({ sound, trace }));
      heard.catch(() => this.heard.delete(name));
      this.heard.set(name, heard);
      if (this.heard.size > REMEMBERED) this.heard.delete(this.heard.keys().next().value);
    }
    return this.heard.get(name);
  }

  async sound(name) {
    const file = await (await this.ask(`captures/${encodeURIComponent(name)}/sound`)).blob();
    return decode(Object.assign(file, { name }), RATE);
  }

  async trace(name) {
    return this.listed.scores ? (await this.ask(`captures/${encodeURIComponent(name)}/scores`)).json() : null;
  }

  async say(review) { // -> what was saved
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(review) };
    return (await this.ask("reviews", options)).json();
  }
}

export class Player { // of one sound at a time
  constructor(moved) { // is called with the second that is heard, and with null at the end
    Object.assign(this, { moved, source: null });
  }

  async play(sound) {
    this.stop();
    this.context ??= new AudioContext();
    const buffer = new AudioBuffer({ length: sound.length, sampleRate: RATE });
    buffer.copyToChannel(Float32Array.from(sound, (value) => value / 32768), 0);
    const source = (this.source = new AudioBufferSourceNode(this.context, { buffer }));
    source.connect(this.context.destination);
    source.onended = () => this.source === source && this.stop();
    await this.context.resume();
    if (this.source !== source) return;
    const began = this.context.currentTime;
    source.start();
    const follow = () => {
      if (this.source !== source) return;
      this.moved(this.context.currentTime - began);
      requestAnimationFrame(follow);
    };
    follow();
  }

  stop() { // whether something was played
    const source = this.source;
    if (!source) return false;
    this.source = null;
    try {
      source.stop();
    } catch { /* it had not begun */ }
    this.moved(null);
    return true;
  }
}
