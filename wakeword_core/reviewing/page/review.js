// The page: which capture is chosen, what is shown of it, and what keys and buttons do.

import { Captures, Player, RATE } from "./captures.js";
import { drawScores, drawWaveform, MelPicture } from "./pictures.js";

const POLL_MS = 3000;
const KINDS = { event: "It woke", refused: "Its judge refused", near_miss: "It nearly woke" };
const MOVES = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
const STATES = { y: "yes", n: "no", u: "unsure", d: "deleted" };
const TEXTS = ["word", "speaker", "licence"], SPAN = ["speech_start", "speech_end"];
const WORD_SECONDS = 1; // that a word takes, about, before it is detected
const $ = (id) => document.getElementById(id);
const answers = [...document.querySelectorAll("#answers button")];
const captures = new Captures(), player = new Player(showPlayhead);
const page = { chosen: null, seen: "", heard: null, named: null, saving: false, changed: false };
// `seen` is what had been said of the chosen capture when it was chosen: what comes meanwhile is not overruled unasked

// Which captures there are.

async function load() {
  try {
    const changed = await captures.refresh();
    $("entry").hidden = true;
    if (changed) {
      fit();
      update();
    }
    tellTrouble(null, "poll");
  } catch (error) {
    $("entry").hidden = error.status !== 401;
    tellTrouble(error.status === 401 && !captures.token ? null : error, "poll");
  }
}

function fit() { // the page, once, to recordings of sources, of which only the word is asked and nothing is deleted
  if (!captures.listed.corrects || STATES.d === "left_out") return;
  const out = answers.at(-1);
  STATES.d = out.dataset.state = "left_out";
  out.firstChild.data = "Leave out ";
  out.className = "";
  $("captures").textContent = "Recordings";
  $("d-does").textContent = "leave it out";
  $("scores").ariaLabel = "Score over time, and the threshold";
  $("filter").append(new Option("left out", "left_out"));
  for (const part of document.querySelectorAll("[data-captures]")) part.hidden = true;
}

function update() { // what somebody else may have changed
  const before = page.chosen, now = before && find(before);
  const gone = before && !now && captures.listed.gone.find(({ name }) => name === before.name);
  const changed = gone || (now && now.revision !== before.revision && now.review);
  if (now) page.chosen = now;
  else choose(next(before));
  if (now && changed) showSaid();
  showList();
  const did = changed?.state === "deleted" ? "deleted" : `said ${stateOf(changed)} of`;
  const what = captures.listed.corrects ? "recording" : "capture";
  tell(changed ? `${changed.reviewer || "Somebody"} ${did} this ${what}. ${toDo()}` : toDo());
}

function toDo() {
  const all = captures.listed.captures, left = all.filter(({ review }) => !review).length;
  if (all.length) return `${left} of ${all.length} are left to review.`;
  return captures.listed.corrects ? "The report doubts no recording." : "Nothing is kept here yet.";
}

function next(after) { // the first that nobody reviewed, from the one after on; or else the one after it, or the last
  const all = captures.listed.captures, here = after ? all.findIndex(({ name }) => name === after.name) : -1;
  const at = here < 0 && after ? all.findIndex(({ name }) => name > after.name) : here + 1; // it may be gone
  const later = at < 0 ? [] : all.slice(at);
  return [...later, ...all].find(({ review }) => !review) ?? later[0] ?? all.at(-1) ?? null;
}

function shown() {
  const wanted = $("filter").value;
  return captures.listed.captures.filter(({ name, review }) =>
    wanted === "all" || (review?.state ?? "") === wanted || name === page.chosen?.name);
}

function showList() {
  const { defaults, words, title } = captures.listed, rows = shown();
  document.title = `Review of ${title}`;
  page.named ??= $("reviewer").value = stored("reviewer") ?? defaults.reviewer;
  $("words").replaceChildren(...words.map((value) => Object.assign(element("option"), { value })));
  $("list").replaceChildren(...rows.map(row));
  $("none").hidden = rows.length > 0;
  $("list").hidden = rows.length === 0;
  markChosen();
}

function row(capture) {
  const { name, score, review } = capture, item = element("li");
  Object.assign(item, { id: `of-${name}`, role: "option" });
  item.append(element("span", heading(capture)), element("span", stateOf(review), `state ${review?.state ?? ""}`));
  const by = review && review.reviewer !== $("reviewer").value ? `, reviewed by ${review.reviewer || "somebody"}` : "";
  item.append(element("span", `${why(capture)}${score === null ? "" : `, score ${score.toFixed(2)}`}${by}`, "soft by"));
  item.addEventListener("click", () => choose(capture));
  return item;
}

const heading = ({ place, time }) => place ?? clock(time);
const why = (capture) => capture.why ?? KINDS[capture.kind];
const stateOf = (review) => (review?.state ?? "").replace("_", " ");

function markChosen() {
  const id = page.chosen ? `of-${page.chosen.name}` : "";
  for (const item of $("list").children) item.ariaSelected = String(item.id === id);
  $("list").setAttribute("aria-activedescendant", id);
  const item = document.getElementById(id), list = $("list");
  if (!item) return; // scrollIntoView would move the page, too
  const top = item.offsetTop - list.offsetTop, below = top + item.offsetHeight - list.clientHeight;
  list.scrollTop = Math.min(top, Math.max(below, list.scrollTop));
}

// The chosen capture.

async function choose(capture) {
  player.stop();
  $("sure").close(); // which asked about another
  const chosen = capture && find(capture);
  Object.assign(page, { chosen, seen: chosen?.revision ?? "", heard: null, changed: false });
  for (const button of [...answers, $("play")]) button.disabled = !capture;
  if (!capture) $("title").textContent = "Nothing is chosen";
  showSaid();
  draw();
  if (!capture) return;
  const { name, place, word, score, threshold } = page.chosen;
  $("title").textContent = place ?? `${why(page.chosen)}, ${heading(page.chosen)}`;
  const figures = [score !== null && `score ${score.toFixed(3)}`, threshold !== null && `threshold ${threshold.toFixed(3)}`];
  $("facts").textContent = [word, place && why(page.chosen), ...figures].filter(Boolean).join(", ");
  $("question").textContent = word ? `Does somebody say “${word}”?` : "Does somebody say the wake word?";
  markChosen();
  try {
    const heard = await captures.hear(page.chosen);
    if (page.chosen?.name !== name) return;
    page.heard = { ...heard, mel: new MelPicture(captures.listed.frontend, RATE) };
    tellTrouble(null, name);
    draw();
    if ($("autoplay").checked) play();
    const after = beside(1);
    if (after) captures.hear(after).catch(() => null); // ahead of time; its trouble is told once it is chosen
  } catch (error) {
    if (page.chosen?.name === name) tellTrouble(error, name);
  }
}

const find = ({ name }) => captures.listed.captures.find((one) => one.name === name) ?? null;

function beside(steps) {
  const rows = shown(), at = rows.findIndex(({ name }) => name === page.chosen?.name);
  return rows[at + steps];
}

function showSaid() { // of the chosen capture
  const { review } = page.chosen ?? {}, { defaults } = captures.listed;
  const labelled = review?.state === "yes" || review?.state === "no";
  const values = { ...(labelled ? review : defaults), ...guess(review, page.chosen) };
  if (!page.changed) for (const id of [...TEXTS, ...SPAN]) $(id).value = values[id] ?? "";
  showBand();
  for (const button of answers)
    if (button.dataset.state !== "deleted") button.ariaPressed = String(button.dataset.state === review?.state);
  const by = review && `Reviewed: ${stateOf(review)}, by ${review.reviewer || "somebody"}, ${clock(review.reviewed)}.`;
  const use = labelled && { train: "Models learn from it.", test: "It is kept for the test; no model learns from it." };
  $("said").textContent = review ? [by, use?.[review.split]].filter(Boolean).join(" ") : "Nobody has reviewed it yet.";
}

function guess(review, capture) { // the word, and where it is, unless somebody has said so
  if (review?.state === "yes" || !capture) return {};
  const { word, before_seconds: end } = capture;
  return { word, ...(end !== null && { speech_start: Math.max(0, end - WORD_SECONDS), speech_end: end }) };
}

async function say(state) {
  const capture = page.chosen;
  if (!capture || page.saving) return;
  page.saving = true;
  const { corrects } = captures.listed, fields = corrects ? ["word"] : TEXTS;
  const texts = [...fields, "reviewer"].map((id) => [id, $(id).value]);
  const span = corrects ? [] : SPAN.map((id) => [id, $(id).valueAsNumber]); // NaN becomes null
  const said = Object.fromEntries([...texts, ...span]);
  try {
    const review = await captures.say({ name: capture.name, state, ...said, seen: page.seen });
    tellTrouble(null, "say");
    await captures.refresh();
    choose(next(capture));
    showList();
    tell(`${heading(capture)}: ${stateOf(review)}. ${toDo()}`);
  } catch (error) {
    await load();
    if (error.code === "reviewed_meanwhile") {
      page.seen = page.chosen?.revision ?? "";
      error.message += "; answer again to overrule it.";
    }
    tellTrouble(error, "say");
  } finally {
    page.saving = false;
  }
}

function answer(state) {
  if (state !== "deleted") return say(state);
  if (page.chosen && !$("sure").open) $("sure").showModal();
}

function really() {
  $("sure").close();
  say("deleted");
}

function play() {
  if (page.heard) player.play(page.heard.sound);
}

// What is drawn and told.

function draw() { // once for all that happens before the next picture
  page.drawing ??= requestAnimationFrame(() => {
    page.drawing = null;
    const { sound, trace, mel } = page.heard ?? {}, before = page.chosen?.before_seconds;
    const to = (sound?.length ?? RATE) / RATE, heard = { sound: sound ?? [], soundStart: 0, rate: RATE, from: 0, to };
    $("length").textContent = sound ? `${to.toFixed(1)} s` : "";
    $("trace").hidden = !trace;
    if (trace) {
      const points = trace.times.map((time, i) => ({ time, scores: [0, trace.scores[i]] }));
      const decision = { threshold: page.chosen.threshold ?? trace.threshold, lowered: (score) => score };
      const events = before === null ? [] : [{ time: before }];
      drawScores($("scores"), { points, events, decision, words: 1, from: 0, to });
      $("peak").textContent = `highest ${Math.max(0, ...trace.scores).toFixed(3)}`;
    }
    drawWaveform($("waveform"), heard);
    showBand();
    if (mel) mel.draw($("mel"), heard);
    else $("mel").width = 0; // which clears it
  });
}

function showBand() { // where the word is said to be
  const [from, to] = SPAN.map((id) => $(id).valueAsNumber), seconds = page.heard ? page.heard.sound.length / RATE : 0;
  for (const band of document.querySelectorAll(".band")) {
    band.hidden = !(from < to && seconds);
    const pixels = band.parentElement.clientWidth / seconds;
    Object.assign(band.style, { left: `${from * pixels}px`, width: `${(Math.min(to, seconds) - from) * pixels}px` });
  }
}

function drag({ currentTarget: picture, clientX, pointerId, type }) { // over a picture, from where the word begins
  if (!page.heard || captures.listed.corrects) return;
  const { left, width } = picture.getBoundingClientRect(), seconds = page.heard.sound.length / RATE;
  const at = Math.max(0, Math.min(1, (clientX - left) / width)) * seconds;
  if (type === "pointerdown") {
    picture.setPointerCapture(pointerId);
    page.dragged = at;
  } else if (picture.hasPointerCapture(pointerId) && at !== page.dragged) {
    const [from, to] = [page.dragged, at].sort((one, other) => one - other);
    [$("speech_start").value, $("speech_end").value] = [from.toFixed(2), to.toFixed(2)];
    page.changed = true;
    showBand();
  }
}

function showPlayhead(second) {
  for (const line of document.querySelectorAll(".playhead")) {
    line.hidden = second === null;
    if (second === null) continue;
    const share = Math.min(1, (second * RATE) / page.heard.sound.length);
    line.style.transform = `translateX(${share * line.parentElement.clientWidth}px)`;
  }
  $("play").firstChild.data = second === null ? "Play " : "Stop ";
}

function tell(text) {
  $("state").textContent = text;
}

function tellTrouble(error, of) { // a trouble stays until what it was of goes well, or another comes
  if (!error && page.trouble !== of) return;
  page.trouble = error ? of : null;
  $("trouble").hidden = !error;
  $("trouble").textContent = error ? error.message[0].toUpperCase() + error.message.slice(1) : "";
}

function element(tag, text = "", className = "") {
  return Object.assign(document.createElement(tag), { textContent: text, className });
}

function clock(time) {
  return new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

function stored(key) { // a browser may keep nothing
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch { /* it is asked again next time */ }
}

// Keys and buttons.

function pressed(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if ($("sure").open) {
    if (key === "d" && !event.repeat) really();
    return;
  }
  if (target.matches("input:is([type=text], [type=number], [type=password])")) {
    if (key === "Enter" && target.type !== "password") $("list").focus();
    return;
  }
  const moves = target === $("list") && key.startsWith("Arrow"); // as in any list
  if (!($("single").checked || moves) || target.matches("select")) return;
  if (key === " " && target.matches("button, input")) return; // which it presses
  if (!captures.listed || !(key in MOVES || key in STATES || key === " ")) return;
  event.preventDefault();
  if (key in MOVES) {
    const other = beside(MOVES[key]);
    if (other) choose(other);
  } else if (!event.repeat) key === " " ? player.stop() || play() : answer(STATES[key]);
}

document.addEventListener("keydown", pressed);
for (const button of answers) button.addEventListener("click", () => answer(button.dataset.state));
for (const id of [...TEXTS, ...SPAN])
  $(id).addEventListener("input", () => {
    page.changed = true;
    showBand();
  });
for (const picture of document.querySelectorAll(".picture"))
  for (const type of ["pointerdown", "pointermove"]) picture.addEventListener(type, drag);
$("play").addEventListener("click", () => player.stop() || play());
$("really").addEventListener("click", really);
$("keep").addEventListener("click", () => $("sure").close());
$("filter").addEventListener("change", showList);
$("reviewer").addEventListener("change", ({ target }) => {
  store("reviewer", target.value);
  showList();
});
$("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  captures.token = $("token").value;
  load();
});
new ResizeObserver(draw).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
document.addEventListener("visibilitychange", () => document.hidden || load());
setInterval(() => document.hidden || page.saving || load(), POLL_MS);
load();
