// Saves reloads: sends forms in place, and keeps the feed current. Every page works without it.
"use strict";
const feed = document.getElementById("feed");
const notice = document.getElementById("notice");

function say(sentence) {
  if (!notice) return;
  notice.textContent = sentence;
  notice.hidden = !sentence;
}

function showTimes(root) {
  for (const time of root.querySelectorAll("time[data-at]")) {
    const at = new Date(Number(time.dataset.at));
    time.dateTime = at.toISOString();
    time.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    time.title = at.toLocaleString();
  }
}

async function answer(response) {
  if (response.ok) return response;
  let sentence = "Riff did not answer as expected. Try again.";
  try { sentence = (await response.json()).detail; } catch { /* not a problem document */ }
  throw new Error(sentence);
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.hasAttribute("data-quiet")) return;
  event.preventDefault();
  const filled = new FormData(form, event.submitter);
  const body = form.enctype === "multipart/form-data" ? filled : new URLSearchParams(filled);
  const name = document.querySelector("#box input[name=name]");
  if (name && !body.has("name")) body.set("name", name.value);
  try {
    await answer(await fetch(form.action, { method: "POST", body, headers: { accept: "application/json" } }));
    say("");
    if (name) { location.href = location.pathname; return; }
    if (form.hasAttribute("data-clear")) {
      if (form.querySelector("input[name=parent]")) { location.href = location.pathname; return; }
      form.querySelector("textarea").value = "";
      for (const file of form.querySelectorAll("input[type=file]")) file.value = "";
    } else if (new URLSearchParams(location.search).has("blend") && event.submitter?.value.startsWith("blend")) {
      location.href = location.pathname;
    } else if (form.classList.contains("reply")) {
      form.reset();
    }
  } catch (error) {
    say(error.message === "Failed to fetch" ? "Riff cannot be reached right now. Nothing was lost; try again." : error.message);
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    const box = document.getElementById("prompt");
    if (box) { box.value = button.dataset.copy; box.focus(); }
  }
});

const box = document.getElementById("prompt");
// What is filled in is there to be continued.
box?.setSelectionRange(box.value.length, box.value.length);
box?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    box.form.requestSubmit();
  }
});

function atEnd() { return feed.scrollHeight - feed.scrollTop - feed.clientHeight < 160; }
function toEnd() { feed.scrollTop = feed.scrollHeight; }
function cardOf(job) { return document.getElementById("job-" + job); }

function putCard(html) {
  const card = new DOMParser().parseFromString(html, "text/html").querySelector("article");
  const follow = atEnd();
  showTimes(card);
  const old = document.getElementById(card.id);
  if (old && old.contains(document.activeElement) && document.activeElement.matches("input")) {
    card.querySelector("input[name=text]")?.setAttribute("value", document.activeElement.value);
  }
  if (old) old.replaceWith(card); else feed.append(card);
  for (const image of card.querySelectorAll("img")) image.addEventListener("load", () => { if (follow) toEnd(); });
  if (follow) toEnd();
}

function putProgress(update) {
  const card = cardOf(update.job);
  if (!card?.classList.contains("live")) return;
  const follow = atEnd();
  card.querySelector(".status").textContent = update.status;
  card.querySelector("progress").value = update.percent;
  if (update.preview) {
    const image = card.querySelector(".preview");
    image.src = update.preview;
    image.hidden = false;
  }
  if (update.text) {
    const text = card.querySelector(".text");
    text.textContent = update.text;
    text.hidden = false;
  }
  if (follow) toEnd();
}

if (feed) {
  showTimes(document);
  toEnd();
  const events = new EventSource(feed.dataset.events);
  events.addEventListener("card", (event) => putCard(event.data));
  events.addEventListener("progress", (event) => putProgress(JSON.parse(event.data)));
  events.addEventListener("gone", (event) => cardOf(event.data)?.remove());
  events.addEventListener("live", (event) => {
    const live = new Set(JSON.parse(event.data));
    for (const card of feed.querySelectorAll(".card.live")) if (!live.has(card.dataset.job)) card.remove();
  });
  events.addEventListener("reload", () => location.reload());

  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
  addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const file = event.dataTransfer.files[0];
    if (!file) return;
    try {
      const response = await answer(await fetch(location.pathname + "/drop", { method: "POST", body: file, headers: { accept: "application/json" } }));
      location.href = (await response.json()).open + "#prompt";
    } catch (error) { say(error.message); }
  });
} else {
  showTimes(document);
}
