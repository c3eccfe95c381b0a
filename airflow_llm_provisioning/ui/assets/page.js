// The little that a page of finished HTML needs: links that leave the frame, parts that load later or update
// themselves, and two forms. Everything that is inserted was made and escaped by the server.

const LIVE_MS = 3000;

// Airflow shows this page in a frame that may not navigate its parent. Its router follows the browser's history.
function openInAirflow(event) {
  const link = event.target.closest("a[data-airflow]");
  if (!link || event.metaKey || event.ctrlKey || window.parent === window) return;
  event.preventDefault();
  const history = window.parent.history;
  const index = (history.state?.idx ?? 0) + 1;
  const state = { idx: index, key: `llm-deployments-${index}`, usr: null };
  history.pushState(state, "", link.href);
  window.parent.dispatchEvent(new PopStateEvent("popstate", { state }));
}

async function load(part, address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`${answer.status}`);
  const text = await answer.text();
  if (part.dataset.shown !== text) {
    const open = [...part.querySelectorAll("details[open]")].map((item) => item.id);
    part.innerHTML = text;
    part.dataset.shown = text;
    loadLater(part);
    for (const id of open) if (id) document.getElementById(id)?.setAttribute("open", "");
  }
}

function fail(part, error) {
  const sentence = document.createElement("p");
  sentence.className = "alarm";
  sentence.textContent = `This part could not be loaded (${error.message}). Reload the page to try again.`;
  part.replaceChildren(sentence);
}

// A part may hold parts itself. An address may end in the name of something inside a part.
async function loadPart(part) {
  try {
    await load(part, part.dataset.load);
  } catch (error) {
    fail(part, error);
  }
  part.removeAttribute("aria-busy");
  const named = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named && part.contains(named)) named.scrollIntoView();
}

function loadLater(within) {
  for (const part of within.querySelectorAll("[data-load]")) loadPart(part);
}

function updateLive() {
  for (const part of document.querySelectorAll("[data-live]")) {
    const state = document.querySelector("[data-live-state]");
    const again = async () => {
      if (!document.hidden) {
        try {
          await load(part, part.dataset.live);
          if (state) state.textContent = "Updates by itself.";
        } catch (error) {
          if (state) state.textContent = `Not updated: the server answered ${error.message}. Trying again.`;
        }
      }
      setTimeout(again, LIVE_MS);
    };
    setTimeout(again, LIVE_MS);
  }
}

async function send(address, method, body) {
  const answer = await fetch(address, {
    method,
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const detail = typeof told.detail === "string" ? told.detail : JSON.stringify(told.detail ?? answer.status);
    throw new Error(detail);
  }
  return told;
}

function say(form, text, failed = false) {
  const place = form.querySelector("[data-said]");
  place.textContent = text;
  place.classList.toggle("failed", failed);
}

// A trial is started by Airflow's own route, with this user's login: it checks the permission and keeps the record.
async function startTrial(event) {
  const form = event.target.closest("form[data-start]");
  if (!form) return;
  event.preventDefault();
  const button = form.querySelector("button");
  const conf = JSON.parse(form.querySelector("select[name=cell]").value);
  const dag = encodeURIComponent(form.dataset.start);
  button.disabled = true;
  say(form, "Starting ...");
  try {
    if (form.elements.unpause?.checked) await send(`../api/v2/dags/${dag}`, "PATCH", { is_paused: false });
    const run = await send(`../api/v2/dags/${dag}/dagRuns`, "POST", { logical_date: null, conf });
    say(form, `Started as DAG run ${run.dag_run_id}. `);
    const watch = document.createElement("a");
    watch.href = "now";
    watch.textContent = "Watch it under Now";
    form.querySelector("[data-said]").append(watch);
  } catch (error) {
    say(form, `Not started: ${error.message}`, true);
  }
  button.disabled = false;
}

async function acknowledge(event) {
  const form = event.target.closest("form[data-acknowledge]");
  if (!form) return;
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await send(form.getAttribute("action"), "POST", Object.fromEntries(new FormData(form)));
    say(form, "Acknowledged.");
    location.reload();
  } catch (error) {
    say(form, `Not acknowledged: ${error.message}`, true);
    button.disabled = false;
  }
}

document.addEventListener("click", openInAirflow);
document.addEventListener("submit", startTrial);
document.addEventListener("submit", acknowledge);
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-auto]");
  if (form) form.requestSubmit();
});
loadLater(document);
updateLive();
