// The view: the region that counts, and the picture of the scene empty.

import { get, post } from "./api.js";
import { failed, isEngineer, start } from "./common.js";
import { Crop } from "./crop.js";
import { byId, say, t } from "./dom.js";
import { clearError, showError, toast } from "./notices.js";

const asked = new URLSearchParams(location.search);
const source = asked.get("source") ?? document.querySelector("main").querySelector("[data-only]")?.dataset.only;
const base = `sources/${encodeURIComponent(source)}/`;
const problem = byId("problem");
const crop = new Crop(byId("crop"), byId("crop-box"), () => {});
let scene = null;

async function load() {
  clearError(problem);
  const picture = byId("picture");
  await new Promise((resolve, reject) => {
    picture.onload = resolve;
    picture.onerror = () => reject(Object.assign(new Error(), { what: t("register.no-picture"), fix: t("register.again.fix") }));
    picture.src = `/api/v1/${base}whole.jpg?t=${Date.now()}`;
  });
  scene = await get(`${base}scene`);
  const [width, height] = scene.size;  // a wide picture is sent smaller
  byId("crop").toggleAttribute("data-empty", false);
  crop.open(width, height);
  if (scene.roi) crop.set(rectangleOf(scene.roi));
  draw();
}

const rectangleOf = ([x, y, width, height]) => ({ x, y, width, height });

function draw() {
  say(byId("roi-says"), t(`view.roi.${scene.roi_from}`));
  const words = { when: scene.empty_taken ? new Date(scene.empty_taken).toLocaleString() : "", who: scene.empty_author ?? "" };
  say(byId("empty-says"), t(`view.empty.${scene.empty_from}`, words));
  byId("roi-back").hidden = scene.roi_from !== "page" || !isEngineer();
  byId("roi-set").hidden = !isEngineer();
  byId("empty-back").hidden = scene.empty_from !== "page";
}

async function change(run, said) {
  clearError(problem);
  try {
    scene = await run();
    draw();
    toast(t(said));
  } catch (error) {
    showError(problem, error);
  }
}

byId("roi-set").addEventListener("click", () => {
  const { x, y, width, height } = crop.rectangle;
  change(() => post(`${base}scene/roi`, { roi: crop.isWhole() ? null : { x, y, width, height } }), "view.roi.done");
});
byId("roi-back").addEventListener("click", () => change(() => post(`${base}scene/roi`, { roi: null }), "view.roi.done").then(load));
byId("empty-take").addEventListener("click", () => change(() => post(`${base}scene/empty`), "view.empty.done"));
byId("empty-back").addEventListener("click", () => change(() => post(`${base}scene/empty/forget`), "view.empty.done"));
byId("again").addEventListener("click", () => load().catch(failed));
start();
load().catch((error) => { say(byId("crop-wait"), t("register.no-picture")); showError(problem, error); });
