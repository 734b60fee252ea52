// Sound in and out: the microphone and files as int16 at the model's rate, and a tone.

const MAX_FILE_MB = 100, MAX_FILE_MINUTES = 30;
const REFUSALS = {
  NotAllowedError: "This page may not use the microphone: allow it in the browser, then start again.",
  NotFoundError: "There is no microphone here: plug one in, or drop a recording below.",
  NotReadableError: "The microphone cannot be opened: see that no other program holds it, then start again.",
};

export class Microphone { // gives `take` chunks of so many samples at `rate`, and `lost` an error if it ends by itself
  static async open(rate, samples, take, lost) {
    if (!navigator.mediaDevices)
      throw new Error("A browser gives the microphone to pages over HTTPS or on localhost only.");
    const microphone = new Microphone();
    const raw = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    try {
      microphone.stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
      await microphone.connect(rate, samples, take);
    } catch (error) {
      await microphone.close();
      throw REFUSALS[error.name] ? new Error(REFUSALS[error.name]) : error;
    }
    const lostIt = () => lost(new Error("The microphone was taken away; plug it in, then start again."));
    microphone.stream.getTracks()[0].addEventListener("ended", lostIt);
    return microphone;
  }

  async connect(rate, samples, take) {
    let source;
    try {
      this.context = new AudioContext({ sampleRate: rate });
      source = this.context.createMediaStreamSource(this.stream);
    } catch { // a browser that does not change rates itself: the worklet does
      await this.context?.close();
      this.context = new AudioContext();
      source = this.context.createMediaStreamSource(this.stream);
    }
    await this.context.audioWorklet.addModule("microphone_worklet.js");
    const node = new AudioWorkletNode(this.context, "microphone", { processorOptions: { rate, samples } });
    node.port.onmessage = ({ data }) => take(data);
    source.connect(node).connect(this.context.destination); // where it is silent, but without which it does not run
  }

  async close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    if (this.context?.state !== "closed") await this.context?.close();
  }
}

export async function decode(file, rate) { // channels are averaged
  if (file.size > MAX_FILE_MB * 1e6) throw new Error(`${file.name} has more than ${MAX_FILE_MB} MB; cut it first.`);
  const audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error(`${file.name} is no audio that this browser can decode.`);
  });
  if (audio.duration > 60 * MAX_FILE_MINUTES)
    throw new Error(`${file.name} is longer than ${MAX_FILE_MINUTES} minutes; cut it first.`);
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i));
  return Int16Array.from(channels[0], (_, i) => {
    const mean = channels.reduce((sum, one) => sum + one[i], 0) / channels.length;
    return Math.max(-32768, Math.min(32767, Math.round(32768 * mean)));
  });
}

let speaker;

export function beep() {
  speaker ??= new AudioContext();
  const now = speaker.currentTime, gain = new GainNode(speaker), tone = new OscillatorNode(speaker, { frequency: 880 });
  gain.gain.setValueAtTime(0.2, now);
  gain.gain.exponentialRampToValueAtTime(0.001, now + 0.2);
  tone.connect(gain).connect(speaker.destination);
  tone.start();
  tone.stop(now + 0.2);
}
