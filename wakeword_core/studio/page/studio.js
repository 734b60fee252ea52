// The page on which people record themselves: what is to be said, the sign to say it, and what became of it.

import { beep, Microphone } from "./sound.js";

const LEVEL_DB = 60; // so far below full scale the meter shows nothing
const CHUNK_SECONDS = 0.08;
const $ = (id) => document.getElementById(id);
const page = { state: null, consent: "", microphone: null, recording: false, take: null, last: null };

async function ask(path, body) { // the answer, or an error that is a sentence
  const request = body === undefined ? {} : { method: "POST", body };
  const response = await fetch(`v1/${path}`, request).catch(() => null);
  if (!response) throw new Error("The server cannot be reached: start `wakeword record --page` again.");
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail ?? `The server answered ${response.status}.`);
  return answer;
}

async function trying(work) { // and tell what went wrong
  tell(null);
  try {
    await work();
  } catch (error) {
    await stop();
    tell(error);
  }
}

function tell(error) {
  $("trouble").hidden = !error;
  $("trouble").textContent = error ? error.message[0].toUpperCase() + error.message.slice(1) : "";
}

// What is shown.

function show(state) {
  page.state = state;
  const { ask: asked, speaker, kept, total } = state, begun = speaker !== null;
  document.title = $("phrase").textContent = `Record “${state.phrase}”`;
  $("state").textContent = begun ? `${speaker} speaks.` : "";
  $("folder").textContent = state.folder;
  $("source").textContent = state.source;
  $("paste").hidden = $("source").hidden = !state.source;
  $("start").hidden = begun;
  $("stage").hidden = !asked;
  $("end").hidden = !begun || Boolean(asked);
  $("list").hidden = !begun;
  $("none").hidden = kept.length > 0;
  $("takes").replaceChildren(...kept.map((take) => element("li", told(take))));
  $("back").disabled = !kept.length;
  $("hear").disabled = !page.last;
  if (asked) showAsked(asked, total);
}

function showAsked({ place, role, text, manner, seconds }, total) {
  const room = role === "background";
  $("count").textContent = `${place + 1} of ${total}`;
  $("text").textContent = room ? "The room" : text;
  $("manner").textContent = room ? `Nobody says “${page.state.phrase}” for ${Math.round(seconds)} s.` : manner;
  sign("", "Press Record and wait.");
}

function showVerdict({ fault, sentence, state }) {
  $("verdict").hidden = false;
  $("verdict").className = `note wide ${fault ? "alarm" : "good"}`;
  $("verdict").textContent = fault ? `${sentence} Once more, please.` : `Kept: ${told(state.kept.at(-1))}.`;
}

function told({ text, manner, speech_seconds: seconds }) {
  return text ? `${text}, ${manner} (${seconds.toFixed(1)} s)` : "the room";
}

function element(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}

function sign(kind, text) { // which a screen reader says once
  $("stage").className = `wide stage ${kind}`;
  if ($("sign").textContent !== text) $("sign").textContent = text;
}

function consent() { // with the name as the server writes it
  const name = $("speaker").value.normalize("NFC").trim().replace(/\s+/g, " ");
  return { speaker: name, consent: page.consent.replaceAll("{speaker}", name || "…") };
}

// Takes: some seconds to get ready, the sign, and what is said.

class Take {
  constructor({ seconds, ready_seconds: ready, role }, rate) {
    Object.assign(this, { rate, role, waiting: Math.round(ready * rate), filled: 0 });
    this.pcm = new Int16Array(Math.round(seconds * rate));
    this.whole = new Promise((resolve) => (this.end = resolve)); // -> whether it was said to the end
  }

  push(pcm) {
    const said = pcm.subarray(Math.min(pcm.length, this.waiting)).subarray(0, this.pcm.length - this.filled);
    this.waiting = Math.max(0, this.waiting - pcm.length);
    this.pcm.set(said, this.filled);
    this.filled += said.length;
    if (this.waiting) sign("ready", `Get ready: ${Math.ceil(this.waiting / this.rate)}`);
    else sign("recording", this.role === "background" ? "The room is recorded." : "Say it now!");
    if (this.filled === this.pcm.length) this.end(true);
  }
}

function hear(pcm) {
  if (!page.microphone) return; // what was still on its way as it was closed
  const peak = pcm.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 32768;
  $("level").value = 1 + (20 * Math.log10(peak + 1e-6)) / LEVEL_DB;
  page.take?.push(pcm);
}

async function record() { // the present prompt, and all of a room
  page.recording = true;
  $("record").textContent = "Stop";
  try {
    while (await recordOne());
  } finally {
    page.recording = false;
    $("record").textContent = "Record";
  }
}

async function recordOne() { // -> whether the next one follows by itself
  $("verdict").hidden = true;
  const { ask: asked, sample_rate: rate, sitting } = page.state, take = (page.take = new Take(asked, rate));
  page.microphone ??= await Microphone.open(rate, Math.round(CHUNK_SECONDS * rate), hear, lost);
  const whole = await take.whole;
  if (page.take === take) page.take = null;
  if (!whole) {
    await stop(); // a microphone that was opened meanwhile
    sign("", "Stopped. Press Record and wait.");
    return false;
  }
  sign("", "One moment.");
  const verdict = await ask(`sitting/${sitting}/${asked.place}/take`, take.pcm), next = verdict.state.ask;
  if (!verdict.fault) page.last = take;
  show(verdict.state);
  showVerdict(verdict);
  if ($("sound").checked) beep();
  if (!next) await finish();
  return Boolean(next) && !verdict.fault && asked.role === "background" && next.role === "background";
}

async function finish() {
  await stop();
  $("done").focus();
}

async function stop() { // the microphone, and a take that is not said to its end
  const { microphone, take } = page;
  Object.assign(page, { microphone: null, take: null });
  take?.end(false);
  $("level").value = 0;
  await microphone?.close();
}

async function lost(error) {
  await stop();
  tell(error);
}

async function play({ pcm, rate }) {
  page.speaker ??= new AudioContext();
  const buffer = new AudioBuffer({ length: pcm.length, sampleRate: rate });
  buffer.copyToChannel(Float32Array.from(pcm, (value) => value / 32768), 0);
  const source = new AudioBufferSourceNode(page.speaker, { buffer });
  source.connect(page.speaker.destination);
  source.start();
}

async function change(what) { // the sitting, without a take
  await stop();
  const { sitting, ask: asked, total } = page.state;
  const state = await ask(`sitting/${sitting}/${asked?.place ?? total}/${what}`, "");
  page.last = null;
  $("verdict").hidden = true;
  show(state);
  if (state.ask) $("record").focus();
  else $("done").focus();
}

async function load() {
  const state = await ask("sitting");
  page.consent = state.consent;
  $("speaker").value = state.suggested;
  $("consent").textContent = consent().consent;
  show(state);
}

$("speaker").addEventListener("input", () => {
  $("agreed").checked = false; // to another text
  $("consent").textContent = consent().consent;
});
$("agree").addEventListener("submit", (event) => {
  event.preventDefault();
  trying(async () => {
    const state = await ask("sitting", JSON.stringify(consent()));
    page.last = null;
    show(state);
    $("record").focus();
  });
});
$("record").addEventListener("click", () => {
  if (page.take) trying(stop);
  else if (!page.recording) trying(record);
});
$("skip").addEventListener("click", () => trying(() => change("skip")));
$("back").addEventListener("click", () => trying(() => change("take-back")));
$("hear").addEventListener("click", () => trying(() => play(page.last)));
$("again").addEventListener("click", () => {
  $("agreed").checked = false;
  $("verdict").hidden = true;
  show({ ...page.state, speaker: null, ask: null });
  $("speaker").focus();
});
trying(load);
