// The page: one stream from the robot's computer, and orders back. STOP works without any of this.
"use strict";

const LATE_TOP_MS = 2;
const OLD_PICTURE_S = 0.7;
const GIVE_UP_MS = 3000;
const RETRY_MS = 1500;
const HOLD_AGAIN_MS = 250;  // sense/button.py: what is told no more is let go
const $ = id => document.getElementById(id);

let plan = null, points = [], state = null, stream = null, retry = 0;
const pictures = {};

function make(parent, tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}
const figure = (value, digits = 1) => value === null || value === undefined ? "–" : value.toFixed(digits);
const words = name => name.replaceAll("_", " ");

// --- the stream ----------------------------------------------------------------------------

function open() {
  if (stream) stream.close();
  clearTimeout(retry);
  stream = new EventSource("/stream");
  const on = (kind, what) => stream.addEventListener(kind, event => what(JSON.parse(event.data)));
  const seeing = new Set(); // a plan is told again when limits change
  on("plan", told => {
    begin(told);
    for (const [name] of told.cameras) {
      if (!seeing.has(name)) on(`sight-${name}`, seen => see(name, seen));
      seeing.add(name);
    }
  });
  on("past", told => { points = told; });
  on("state", show);
  on("log", showLog);
  on("dream", showDream);
  on("gone", told => { plan = null; $("why").textContent = told.why; robot("gone"); });
  stream.onopen = () => notice("");
  stream.onerror = lose;
}

function lose() {
  stream.close();
  robot("lost");
  notice("The connection to the robot's computer is lost: what you see is old, and STOP may not reach it. Trying again …");
  clearTimeout(retry);
  retry = setTimeout(async () => {
    try {
      const answer = await fetch("/", {method: "HEAD"});
      if (answer.status === 401) location.reload();
    } catch { /* still away */ }
    if (!document.hidden) open();
  }, RETRY_MS);
}

// A tab that nobody looks at holds no connection: a browser has six for a host, and STOP needs one.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) open();
  else { clearTimeout(retry); stream.close(); }
});

// --- what it tells -------------------------------------------------------------------------

function robot(how) {  // live, silent, gone, lost
  document.body.dataset.robot = how;
  $("gone").hidden = how !== "gone";
  $("live").hidden = plan === null;
  if (how === "gone") { $("mode").textContent = "not running"; $("task").textContent = ""; notice(""); }
  if (how === "lost") $("mode").textContent = "not connected";
  const talking = plan !== null && plan.push && how !== "lost" && document.documentElement.dataset.mayCommand === "yes";
  $("talk").hidden = !talking;
  document.body.classList.toggle("talks", talking);
  if (!talking) letGo();
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function begin(told) {
  plan = told;
  points = [];
  state = null;
  document.title = `${plan.robot} – edge_wam`;
  $("robot").textContent = plan.robot;
  $("robot").title = `model ${plan.model}`;
  $("span").textContent = plan.past_s;
  $("rate").textContent = `${plan.control_hz} Hz`;
  $("commands").replaceChildren(...plan.commands.map(said => { const o = document.createElement("option"); o.value = said; return o; }));
  $("cameras").replaceChildren();
  for (const [name, height, width] of plan.cameras) {
    const box = make($("cameras"), "figure");
    const image = make(box, "img");
    image.alt = `what the ${name} camera sees`;
    image.width = width;
    image.height = height;
    make(box, "figcaption", "", name);
    pictures[name] = {box, image, t_s: -Infinity, age: make(box, "span", "age")};
  }
  $("dream").replaceChildren(make($("dream"), "p", "quiet empty", "It imagines while it follows a task."));
  $("ratio").textContent = "";
  $("charts").replaceChildren();
  plan.charts = plan.joints.map((name, joint) => {
    const box = make($("charts"), "figure");
    const caption = make(box, "figcaption", "", words(name));
    const canvas = make(box, "canvas");
    const low = plan.low_deg[joint], high = plan.high_deg[joint];
    canvas.setAttribute("aria-label", `${words(name)}, from ${low} to ${high} degrees`);
    return {canvas, value: make(caption, "span", "figure"), low, high};
  });
  $("servos").replaceChildren();
  plan.rows = plan.joints.map(name => {
    const row = make($("servos"), "tr");
    make(row, "th", "", words(name));
    return [0, 1, 2, 3, 4].map(() => make(row, "td"));
  });
  plan.loads = plan.rows.map(cells => make(make(cells[3], "span", "gauge"), "i"));
}

function see(name, seen) {
  const picture = pictures[name];
  if (!picture) return;
  picture.image.src = `data:image/jpeg;base64,${seen.jpeg}`;
  picture.t_s = seen.t_s;
}

function show(told) {
  if (!plan) return;
  state = told;
  if (told.age_s === null) {
    robot("silent");
    $("mode").textContent = "starting";
    $("task").textContent = "the robot is there; its loop has not begun";
    return;
  }
  robot(told.silent ? "silent" : "live");
  $("mode").textContent = told.silent ? "silent" : told.mode;
  $("task").textContent = told.task || (told.mode === "parked" ? "at rest" : "no task");
  notice(told.silent ? `The robot has told nothing for ${figure(told.age_s, 0)} s: its loop stands, or it waits for its arm. What you see is old.` : "");
  const newest = points.length ? points[points.length - 1][0] : -Infinity;
  for (const point of told.points) if (point[0] > newest) points.push(point);
  told.until_s = told.silent ? told.now_s - told.age_s : told.now_s;  // where the curves end
  while (points.length && points[0][0] < told.until_s - plan.past_s) points.shift();
  for (const name in pictures) {
    const age_s = told.now_s - pictures[name].t_s;
    pictures[name].box.classList.toggle("old", age_s > OLD_PICTURE_S);
    pictures[name].age.textContent = age_s > OLD_PICTURE_S ? (isFinite(age_s) ? `${figure(age_s)} s old` : "no picture yet") : "";
  }
  requestAnimationFrame(draw);
  showServos(told);
  showLoop(told);
}

function draw() {
  if (!plan || !state) return;
  const colour = colours();
  plan.charts.forEach(({canvas, value, low, high}, joint) => {
    drawJoint(canvas, points, joint, plan.joints.length, low, high, state.until_s, plan.past_s, colour);
    value.textContent = `${figure(state.measured_deg[joint])}°`;
  });
  drawLate($("late"), points, 1 + 2 * plan.joints.length, state.until_s, plan.past_s, LATE_TOP_MS, colour);
}

function showServos(told) {
  plan.rows.forEach((cells, joint) => {
    const celsius = told.temperature_c[joint], volts = told.voltage_v[joint], load = told.load[joint] || 0;
    cells[0].textContent = figure(celsius, 0);
    cells[0].className = celsius >= plan.hot_c ? "bad" : celsius >= plan.warm_c ? "warn" : "";
    cells[1].textContent = figure(volts);
    cells[1].className = volts < plan.voltage_low_v ? "warn" : "";
    cells[2].textContent = figure(told.current_a[joint], 2);
    plan.loads[joint].style.width = `${Math.min(100, Math.abs(load) * 100)}%`;
    plan.loads[joint].parentNode.title = `${figure(load * 100, 0)} % of the stall torque`;
    const wrong = told.errors[joint] || (told.mute[joint] ? "no answer" : "");
    cells[4].textContent = wrong || "ok";
    cells[4].className = wrong ? "bad" : "ok";
  });
}

function showLoop(told) {
  const limited = Object.entries(told.limited).map(([why, count]) => `${words(why)} ${count}`).join(", ");
  const rows = [
    ["late, half / 1 in 100", `${figure(told.late_p50_ms, 2)} / ${figure(told.late_p99_ms, 2)} ms`],
    ["ticks skipped", `${told.misses}`],
    ["a tick takes", `${figure(told.work_ms)} ms`],
    ["a thought takes", told.infer_ms === null ? "–" : `${figure(told.infer_ms, 0)} ms`],
    ["exposure to servo", told.servo_ms === null ? "–" : `${figure(told.servo_ms, 0)} ms`],
    ["held back by the guard", limited || "nothing"],
  ];
  $("figures").replaceChildren();
  for (const [name, value] of rows) { make($("figures"), "dt", "", name); make($("figures"), "dd", "", value); }
}

function showLog(told) {
  const log = $("log");
  log.replaceChildren();
  for (const one of told.slice().reverse()) {
    const row = make(log, "li", one.kind === "heard" && !one.meant ? "refused" : one.kind);
    const at = new Date(one.at * 1000);
    make(row, "time", "", at.toLocaleTimeString([], {hour12: false})).dateTime = at.toISOString();
    make(row, "b", "", one.kind);
    if (one.kind !== "heard") { make(row, "span", "", one.text); continue; }
    const taken = one.meant ? (one.meant === one.text ? "" : ` – ${one.meant}`) : ` – ${one.why || "no command"}`;
    const said = make(row, "span", "", `“${one.text}”${taken}`);
    if (one.confidence !== null) make(said, "i", "sure", `${Math.round(100 * one.confidence)} %`).title = "how sure the recogniser is";
  }
  if (!told.length) make(log, "li", "quiet empty", "Nothing yet.");
}

function showDream(told) {
  const grid = document.createElement("div");
  grid.className = "dreams";
  for (const one of told.cameras) {
    const box = make(grid, "figure");
    make(box, "figcaption", "", `${one.camera}, ${told.ahead_s.map(s => `+${figure(s, 2)} s`).join(" and ")}`);
    const tiles = make(box, "div", "tiles");
    tiles.style.gridTemplateColumns = `repeat(${told.ahead_s.length}, 1fr)`;
    for (const [row, what] of [[one.imagined, "imagined"], [one.real, "happened"]]) {
      row.forEach((jpeg, i) => {
        const tile = make(tiles, "div", what);
        const image = make(tile, "img");
        image.src = `data:image/jpeg;base64,${jpeg}`;
        image.alt = `${what}, ${one.camera}, ${figure(told.ahead_s[i], 2)} s ahead`;
        make(tile, "span", "", what);
      });
    }
  }
  $("dream").replaceChildren(grid);
  $("ratio").textContent = told.ratio === null ? "" : `${figure(told.ratio, 2)} × the error of “nothing changes”`;
}

// --- orders --------------------------------------------------------------------------------

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", body, headers: {Accept: "application/json"}, signal: AbortSignal.timeout(GIVE_UP_MS),
  });
  if (answer.status === 401) location.reload();
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

async function stop() {
  const proof = $("proof");
  proof.className = "proof";
  proof.textContent = "stopping …";
  try {
    const told = await post("/stop");
    proof.className = "proof good";
    proof.textContent = `stopped in ${told.took_ms} ms`;
    setTimeout(() => { if (proof.classList.contains("good")) proof.textContent = ""; }, 6000);
  } catch (error) {
    proof.className = "proof bad";
    proof.textContent = `Not stopped: ${error.message}`;
  }
}

$("stop").addEventListener("submit", event => { event.preventDefault(); stop(); });
document.addEventListener("keydown", event => { if (event.key === "Escape") { event.preventDefault(); stop(); } });
async function write(text) {
  $("ask").hidden = true;
  $("answer").textContent = "";
  try {
    const told = await post("/do", new URLSearchParams({text}));
    if (told.ask) ask(told.ask);
    else $("text").value = "";
  } catch (error) {
    $("answer").textContent = error.message;
  }
}

function ask(phrase) {
  $("question").textContent = `Did you mean: ${phrase}?`;
  $("yes").onclick = () => write(phrase);
  $("ask").hidden = false;
  $("yes").focus();
}

$("no").addEventListener("click", () => { $("ask").hidden = true; $("text").focus(); });
$("do").addEventListener("submit", event => { event.preventDefault(); write($("text").value); });

// --- push-to-talk --------------------------------------------------------------------------

const holding = {held: false, telling: false, wake: () => {}, who: Math.random().toString(36).slice(2, 12)};

// One request at a time: a letting go is never overtaken by the holding before it.
async function tellHold() {
  if (holding.telling) return;
  holding.telling = true;
  let told;
  do {
    told = holding.held;
    try {
      await post("/talk", new URLSearchParams({held: told ? "yes" : "no", who: holding.who}));
    } catch (error) {
      $("answer").textContent = `The robot does not listen: ${error.message}`;
    }
    if (told && holding.held) await new Promise(done => { holding.wake = done; setTimeout(done, HOLD_AGAIN_MS); });
  } while (told || holding.held);
  holding.telling = false;
}

function hold() {
  if (holding.held || $("talk").hidden) return;
  holding.held = true;
  $("answer").textContent = "";
  $("talk").classList.add("held");
  $("talk").textContent = "Listening …";
  tellHold();
}

function letGo() {
  if (!holding.held) return;
  holding.held = false;
  $("talk").classList.remove("held");
  $("talk").textContent = "Hold to talk";
  holding.wake();
}

$("talk").addEventListener("pointerdown", event => {
  if (event.button !== 0) return;
  event.preventDefault();
  $("talk").setPointerCapture(event.pointerId);
  hold();
});
for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) $("talk").addEventListener(kind, letGo);
$("talk").addEventListener("contextmenu", event => event.preventDefault());
for (const kind of ["blur", "pagehide"]) window.addEventListener(kind, letGo);
document.addEventListener("visibilitychange", letGo);
// The space bar, but where it writes a space or presses another button.
document.addEventListener("keydown", event => {
  if (event.key !== " " || $("talk").hidden) return;
  if (event.target !== $("talk") && event.target.closest("input, button, a")) return;
  event.preventDefault();
  if (!event.repeat) hold();
});
document.addEventListener("keyup", event => { if (event.key === " ") letGo(); });

window.addEventListener("resize", () => requestAnimationFrame(draw));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => requestAnimationFrame(draw));
if (!document.hidden) open();
