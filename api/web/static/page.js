// Makes the page live: a file that is dropped or chosen is hashed here, and only its hash is asked for.
//
// The answer is the one the server renders for /?digest=…, put into this page; so there is one template, and the same
// address works without this script.

const $ = (id) => document.getElementById(id);
const drop = $("drop");
const input = $("file");
const status = $("status");
const bar = $("progress");

let asked = 0; // the newest question; older ones that end later are forgotten
let worker = null;

function say(text, quiet = false) {
  status.classList.toggle("quiet", quiet); // only for who listens: the others see it
  status.textContent = text;
}

function hash(file, number) {
  worker?.terminate();
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onerror = () => reject(new Error("the hashing did not start"));
    worker.onmessage = ({ data }) => {
      if (number !== asked) return;
      if (data.digest) resolve(data.digest);
      else if (data.error) reject(new Error("this could not be read: is it a file?"));
      else {
        bar.hidden = false;
        bar.value = data.progress;
      }
    };
    worker.postMessage(file); // a reference: nothing is copied
  });
}

async function pageOf(address) {
  const response = await fetch(address, { headers: { Accept: "text/html" } });
  const found = new DOMParser().parseFromString(await response.text(), "text/html");
  const answer = found.getElementById("answer");
  if (!response.ok || !answer) {
    throw new Error(found.getElementById("detail")?.textContent ?? `the registry answered ${response.status}`);
  }
  return { title: found.title, answer };
}

function show({ title, answer }, name, digest) {
  $("answer").replaceWith(document.adoptNode(answer));
  document.title = title;
  $("digest").value = digest;
  const caption = $("file-name");
  if (name && caption) caption.textContent = name;
  enhance(answer);
  const heading = $("verdict");
  say(heading ? `Answer: ${heading.textContent.trim()}` : "", true);
  heading?.focus({ preventScroll: true });
  answer.scrollIntoView({ block: "start" });
}

async function take(files) {
  const number = ++asked;
  const file = files[0];
  if (!file) return;
  try {
    say(`${files.length > 1 ? "One file at a time: h" : "H"}ashing ${file.name} on this device …`);
    const digest = `sha256:${await hash(file, number)}`;
    say("Asking the registry about its hash …");
    const address = `/?digest=${digest}`;
    const page = await pageOf(address);
    if (number !== asked) return;
    history.pushState(null, "", address);
    show(page, file.name, digest);
  } catch (error) {
    if (number === asked) say(`That did not work: ${error.message}`);
  } finally {
    if (number === asked) {
      bar.hidden = true;
      input.value = ""; // so that the same file can be chosen again
    }
  }
}

function enhance(root) {
  if (!navigator.clipboard) return; // plain http elsewhere
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText($(button.dataset.copy).textContent.trim());
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }
}

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0; // dragenter and dragleave come for every element on the way

addEventListener("dragenter", (event) => {
  if (holdsFiles(event) && ++depth) drop?.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (holdsFiles(event) && --depth <= 0) drop?.classList.remove("over");
});
addEventListener("dragover", (event) => {
  if (holdsFiles(event)) event.preventDefault(); // else the browser opens the file
});
addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  depth = 0;
  drop?.classList.remove("over");
  if (drop) take(event.dataTransfer.files);
});
input?.addEventListener("change", () => take(input.files));
addEventListener("popstate", () => location.reload());
enhance(document);
