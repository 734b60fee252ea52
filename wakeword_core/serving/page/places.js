// Where the model runs. Each place takes int16 of one stream and tells its scores as [{ time, scores: one a label }].

import { Scorer } from "./detector.js";

const MAX_FETCHING_SECONDS = 60;

export class InBrowser {
  static async open(ask, card) { // `ask` fetches from this server, or throws a sentence
    const { version, module, reason } = await runtime(ask);
    if (!module) throw new Error(reason);
    const ort = await import(new URL(module, document.baseURI));
    ort.env.wasm.numThreads = 1; // more would need a page that is isolated from other origins
    const model = new Uint8Array(await (await ask("v1/model/streaming.onnx")).arrayBuffer());
    const session = await ort.InferenceSession.create(model);
    const words = `in this browser, with onnxruntime-web ${version}`;
    return Object.assign(new InBrowser(), { ort, card, session, words });
  }

  async begin(tell) { // a new stream; the last one is over
    const scorer = new Scorer(this.ort, this.session, this.card);
    Object.assign(this, { scorer, tell, last: Promise.resolve() });
  }

  push(pcm) { // resolves when what it completes was told
    const scorer = this.scorer;
    this.last = this.last.then(async () => {
      const points = this.scorer === scorer ? await scorer.push(pcm) : [];
      if (this.scorer === scorer) this.tell(points);
    });
    return this.last;
  }

  end() { this.scorer = null; }
}

async function runtime(ask) { // where onnxruntime-web is, once the server has it
  for (let left = MAX_FETCHING_SECONDS; ; left--) {
    try {
      return await (await ask("ort")).json();
    } catch (error) {
      if (error.status !== 503 || left === 0) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

export class OnServer {
  static async open(ask, card, { stream_message_bytes: most }, token) {
    return Object.assign(new OnServer(), { card, token, samples: Math.floor(most / 2), words: "on the server" });
  }

  begin(tell) {
    this.end();
    const { sample_rate, frontend, streaming } = this.card, { hop_length: hop, n_fft, window_frames } = frontend;
    const due = ((window_frames - 1) % streaming.stride_frames) * hop + n_fft; // samples that the next score needs
    const url = new URL("v1/stream?alone=true", document.baseURI); // whose scores are as in the browser
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, this.token ? ["bearer", this.token] : []);
    Object.assign(this, { socket, tell, due, step: streaming.stride_frames * hop, sent: 0, pushes: [] });
    return new Promise((resolve, reject) => {
      const fail = (sentence) => {
        this.lost = sentence;
        [...this.pushes, { reject }].forEach((one) => one.reject(new Error(sentence)));
        this.end();
      };
      socket.onopen = () => {
        socket.send(JSON.stringify({ sample_rate }));
        resolve();
      };
      socket.onmessage = ({ data }) => this.socket === socket && this.take(JSON.parse(data), fail);
      socket.onclose = ({ reason }) =>
        this.socket === socket && fail(`The connection to the server is lost${reason && ` (${reason})`}; start again.`);
    });
  }

  take({ type, scores, detail }, fail) { // its events are left out: the page has a threshold of its own
    if (type === "error") fail(detail);
    if (type !== "scores") return;
    this.tell(scores.map((row, i) => ({ time: (this.due + i * this.step) / this.card.sample_rate, scores: row })));
    this.due += scores.length * this.step;
    this.settle();
  }

  async push(pcm) { // resolves when what it completes was told
    if (!this.socket) throw new Error(this.lost);
    const open = this.socket.readyState === WebSocket.OPEN; // else onclose comes next, and tells
    for (let at = 0; open && at < pcm.length; at += this.samples) this.socket.send(pcm.slice(at, at + this.samples));
    this.sent += pcm.length;
    const pushed = new Promise((resolve, reject) => this.pushes.push({ sent: this.sent, resolve, reject }));
    this.settle();
    return pushed;
  }

  settle() { // a push is done when the next score needs more than it brought
    while (this.pushes.length && this.pushes[0].sent < this.due) this.pushes.shift().resolve();
  }

  end() {
    const socket = this.socket;
    this.socket = null;
    this.pushes?.forEach((one) => one.resolve());
    socket?.close();
  }
}
